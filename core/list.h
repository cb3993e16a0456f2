/* Lists. */
#ifndef KIN_CORE_LIST_H
#define KIN_CORE_LIST_H

void list_set_up(void);

#endif

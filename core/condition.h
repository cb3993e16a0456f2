/* Conditions, as far as others in the core have to know them. */
#ifndef KIN_CORE_CONDITION_H
#define KIN_CORE_CONDITION_H

void condition_set_up(void);

#endif

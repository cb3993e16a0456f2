/* Dictionaries. */
#ifndef KIN_CORE_DICT_H
#define KIN_CORE_DICT_H

void dict_set_up(void);

#endif

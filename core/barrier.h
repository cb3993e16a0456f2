/* Barriers, as far as others in the core have to know them. */
#ifndef KIN_CORE_BARRIER_H
#define KIN_CORE_BARRIER_H

void barrier_set_up(void);

#endif

/* Groups of processes as objects of the family; see kin/group.h. */
#ifndef KIN_CORE_GROUP_H
#define KIN_CORE_GROUP_H

#include "core/process_object.h"
#include "core/setting.h"

#include <kin/group.h>

/* Once, before the family is founded or joined. */
void group_set_up(void);

/* Notes in a process object that is not published yet in which groups it will be: that of the
   options, and those of this process; none if it is for the family (`apart`). */
int group_note(process_object *p, const kin_process_options *options, bool apart);

/* True if this process is in a group. */
bool group_is_in_any(void);

/* Adds to a setting what a process in its groups has to start with. */
int group_settle(setting *s, const process_object *p);

/* Of a process object that is published and has its slot: 0 if its groups take it in; KIN_E_STATE
   if one of them has been killed, KIN_E_HANDLE if one has been destroyed. May wait for a moment. */
int group_admit(const process_object *p);

/* True if one of its groups has been killed: then it must not live. */
bool group_is_closed(const process_object *p);

/* In a process that has just become a member: keeps what its groups need; or does not come back. */
void group_enter(const process_object *p);

/* Closes what groups had open that are there no more; at the end of membership, all of it. */
void group_forget(bool all);

/* In a copy that fork has made. Safe in a signal handler. */
void group_reset_copy(void);

#endif

/* Groups: processes that are ended, joined and counted as one. A process is started into a group by
   kin_process_options.group. What it starts then is in the group too, by kin or otherwise, and what
   that starts, however deep. */
#ifndef KIN_GROUP_H
#define KIN_GROUP_H

#include <kin/process.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How far the system helps with processes that are no members of the family (programs that a child
   runs by itself):
   - On Windows a group is a job object: whatever is started in it is in it.
   - On POSIX each process that is started into a group from outside leads a process group of its
     own, and what it starts is in that, unless it leaves it (setsid, setpgid). They are found as
     long as the process that led them has not been reaped: its parent does so when the group is
     destroyed, or when its handle is closed and nobody of the process group is left. If that parent
     is killed, its children's children that are no members are out of reach. To list them /proc is
     read; without one, only members are counted and waited for. Where there are no pidfds, only the
     parent of the process that led them finds them.
   Members are always found, by their handles. */

/* Makes a group. It lasts until kin_group_destroy, or until its maker and all members in it are
   gone. A process that is started into it is in the groups of the process that starts it as well;
   in up to 4 altogether (kin_process_start: KIN_E_LIMIT). Errors: KIN_E_INVALID, KIN_E_INIT,
   KIN_E_NOMEM, KIN_E_DESCRIPTORS, KIN_E_SYSTEM. */
KIN_API int kin_group_create(kin_group *group);

/* How many processes are alive in it; one that has just been started counts. Errors: KIN_E_HANDLE,
   KIN_E_NOMEM, KIN_E_DESCRIPTORS, KIN_E_SYSTEM. */
KIN_API int kin_group_count(kin_group group);

/* Writes the handles of up to `capacity` members of the family that are alive in it to `processes`,
   and returns how many there are. NULL and 0 only count. Errors: KIN_E_HANDLE, KIN_E_INVALID,
   KIN_E_NOMEM. */
KIN_API int kin_group_processes(kin_group group, kin_process *processes, size_t capacity);

/* Asks all that are in it to end, as kin_process_terminate does. What is no member gets SIGTERM; on
   Windows it is ended at once. The caller, if it is in the group, is asked last. Errors:
   KIN_E_HANDLE, KIN_E_NOMEM, KIN_E_PERMISSION, KIN_E_SYSTEM; those that could be asked have been.
   */
KIN_API int kin_group_terminate(kin_group group);

/* Kills all that are in it, at once. From then on nothing can be started in it (KIN_E_STATE): not
   one that is just being started escapes. The caller, if it is in the group, is killed last. Errors
   as of kin_group_terminate. */
KIN_API int kin_group_kill(kin_group group);

/* Waits until nobody in it is alive; also 0 if there never was anybody. Errors: KIN_E_TIMEOUT,
   KIN_E_HANDLE, KIN_E_INVALID, KIN_E_DEADLOCK (the caller is in it), KIN_E_NOMEM. */
KIN_API int kin_group_join(kin_group group, int timeout_ms);

/* Gives the handle back. KIN_E_RUNNING if somebody in it is alive; else KIN_E_HANDLE, KIN_E_NOMEM.
   */
KIN_API int kin_group_destroy(kin_group group);

#ifdef __cplusplus
}
#endif

#endif

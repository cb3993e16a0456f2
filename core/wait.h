/* Waiting for something to change, across processes: a short spin, then sleep.

   A signal is a counter. Who waits reads it, looks whether what it waits for is the case, and if
   not waits for the counter to move on. Who changes something raises the signal afterwards. A
   killed waiter leaves nothing behind that matters: `sleepers` only says that somebody may be
   asleep. No sleep lasts longer than WAIT_SLICE_NS, in a long wait for a lock WAIT_LONG_SLICE_NS:
   whoever waits for something that others do looks, at least so often, whether they are still
   alive. */
#ifndef KIN_CORE_WAIT_H
#define KIN_CORE_WAIT_H

#include "core/family.h"

#define WAIT_SLICE_NS (INT64_C(200) * 1000000)

typedef struct wait_signal {
    _Atomic uint32_t count;
    _Atomic uint32_t sleepers;
} wait_signal;

/* The moment at which `timeout_ms` from now ends; INT64_MAX for ever. */
int64_t wait_deadline(int timeout_ms);

uint32_t wait_count(wait_signal *signal);

/* Waits until the signal's count is not `seen`, the deadline, or the end of a slice. 0, also when a
   slice ends, or KIN_E_TIMEOUT; failures to sleep are told as well. */
int wait_for_change(wait_signal *signal, uint32_t seen, int64_t deadline_ns);

void wait_raise(wait_signal *signal);

/* Closes what this process has open of others to wake them; it is opened again at need. */
void wait_close_parkers(void);

/* In a copy that fork has made. Safe in a signal handler. */
void wait_reset_copy(void);

/* ---- who waits for what ----

   Whoever waits for something that others may want to know of says so in its thread's record; what
   was there before is kept, for a wait may begin within another (in a callback that is told of a
   death). `waits` moves on with each change. */
typedef struct wait_note {
    uint64_t id;
    int64_t since;
    int64_t until;
    uint32_t can_end;
} wait_note;

/* deadline: as waits have it. can_end: this wait may be ended with KIN_E_DEADLOCK. */
wait_note wait_begin(thread_self *t, uint64_t id, int64_t deadline_ns, bool can_end);
void wait_end(thread_self *t, const wait_note *before);

/* ---- lines: where those who wait are woken one by one, or can wait for many things at once ----

   A line's sequence moves on at each wake. Who waits reads it, then announces itself, then looks
   whether it has to wait, and then sleeps as long as the sequence is what it has read. Who changes
   something calls line_tell afterwards, which costs a load if nobody is there.

   `flags` says that somebody may be there. It is cleared by one who finds nobody, and who then
   moves the sequence on and wakes all: whoever had announced itself before that is woken or does
   not fall asleep, and announces itself again. So no wake-up is missed while nobody is killed. One
   that was woken and then killed may have been meant to go on and wake others: those look for
   themselves at the end of a slice. */
enum { LINE_SLEEPERS = 1, LINE_WATCHED = 2 };
enum { LINE_ALL = 0x7fffffff };

static inline uint32_t line_read(wait_line *line)
{
    return atomic_load(&line->sequence);
}

static inline void line_announce(wait_line *line, uint32_t flag)
{
    if ((atomic_load(&line->flags) & flag) == 0) {
        atomic_fetch_or(&line->flags, flag);
    }
}

/* Sleeps until the line moves on from `seen`. 0 if it has or may have, KIN_E_TIMEOUT at the
   deadline or at the end of a slice; or why it could not sleep. */
int line_sleep(wait_line *line, uint32_t seen, int64_t deadline_ns);

/* The same with a slice of its own: in a long wait each costs a tenth of a millisecond. */
#define WAIT_LONG_SLICE_NS (INT64_C(300) * 1000000)
int line_sleep_for(wait_line *line, uint32_t seen, int64_t deadline_ns, int64_t slice_ns);

/* Wakes up to `count` of those who sleep here, those first that have slept longest; how many there
   were. */
uint32_t line_wake(wait_line *line, uint32_t count);

/* After a change for which `count` of those who have announced themselves may wait. */
void line_tell_them(wait_line *line, uint32_t count);

static inline void line_tell(wait_line *line, uint32_t count)
{
    if (atomic_load(&line->flags) != 0) {
        line_tell_them(line, count);
    }
}

/* The same for those alone who wait for this among many things. */
void line_tell_watchers(wait_line *line);

/* The bit of thread_record.watches for a line. Who waits for many things sets the bits of their
   lines, announces itself there with LINE_WATCHED, and sleeps at its record's bell. */
uint64_t line_bit(const wait_line *line);

/* ---- spinning: as long as it has helped of late, which is not at all on a single processor ----
   */

enum spin_kind { SPIN_CHANGE, SPIN_LOCK, SPIN_KINDS };

typedef struct wait_spin {
    uint32_t done;
    uint32_t most;
    uint32_t pause;
    enum spin_kind kind;
} wait_spin;

wait_spin wait_spin_begin(enum spin_kind kind);

/* A moment's rest, longer each time. False when it is time to sleep. */
bool wait_spin_once(wait_spin *spin);

/* To be told of every spin that had to be: whether it helped. */
void wait_spin_end(const wait_spin *spin, bool helped);

#endif

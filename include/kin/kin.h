/* kin: multiprocessing for C. This header brings in the whole public interface. */
#ifndef KIN_KIN_H
#define KIN_KIN_H

#include <kin/array.h>
#include <kin/barrier.h>
#include <kin/base.h>
#include <kin/condition.h>
#include <kin/counter.h>
#include <kin/dict.h>
#include <kin/event.h>
#include <kin/group.h>
#include <kin/holder.h>
#include <kin/list.h>
#include <kin/lock.h>
#include <kin/log.h>
#include <kin/memory.h>
#include <kin/pipe.h>
#include <kin/pool.h>
#include <kin/process.h>
#include <kin/queue.h>
#include <kin/rwlock.h>
#include <kin/semaphore.h>
#include <kin/shm.h>
#include <kin/wait.h>

#endif

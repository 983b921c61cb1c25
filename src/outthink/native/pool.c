/* Threads that help with a pass.
 *
 * A stage is a number of items; whoever is awake takes the next one. The caller goes on when all items are
 * done, not when all threads have come by: a helper that the machine gives no time to takes no items, and then
 * the caller does them itself. Only a helper that loses its core in the middle of an item is waited for.
 *
 * Helpers spin for a moment after work, for the next stage comes within microseconds and often the next pass
 * too; then they sleep. They do not yield: who yields to a busy neighbour is gone for milliseconds, who sleeps is
 * back when woken. Passes of several callers come one after the other.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include "native.h"

#define MOST_THREADS 256
#define MOST_ITEMS 60000
#define SPIN_NS 400000L /* before sleep: longer than what lies between two passes of a few rows */
#define TURNS 20000    /* of the caller, before it yields: some 200 us */

#if defined(__x86_64__) || defined(__i386__)
#define PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ volatile("yield")
#else
#define PAUSE() ((void)0)
#endif

static pthread_mutex_t busy = PTHREAD_MUTEX_INITIALIZER;   /* held for a pass */
static pthread_mutex_t asleep = PTHREAD_MUTEX_INITIALIZER; /* with `wake` */
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static int helpers;                /* started; under `busy` */
static int active;                 /* threads of this pass, the caller among them; under `busy` */
static atomic_int allowed;         /* the same for helpers to read */
static atomic_int sleepers;
static atomic_uint passes;         /* begun so far: what a sleeper waits for */
static _Atomic uint64_t ticket;    /* stage number << 32 | items << 16 | next item */
static atomic_int done;            /* items of this stage */
static Stage stage;                /* written before the ticket, read after taking an item */
static void *what;
static int base;                   /* added to item numbers, which have 16 bits */

static long now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

/* Do items until there are none; whether there was one. */
static int help(int thread)
{
    int any = 0;
    for (;;) {
        uint64_t seen = atomic_load_explicit(&ticket, memory_order_relaxed);
        if ((seen & 0xFFFF) >= ((seen >> 16) & 0xFFFF)) return any;
        seen = atomic_fetch_add_explicit(&ticket, 1, memory_order_acq_rel);
        if ((seen & 0xFFFF) >= ((seen >> 16) & 0xFFFF)) return any;
        stage(what, base + (int)(seen & 0xFFFF), thread);
        atomic_fetch_add_explicit(&done, 1, memory_order_release);
        any = 1;
    }
}

static void sleep_until(unsigned last)
{
    pthread_mutex_lock(&asleep);
    atomic_fetch_add(&sleepers, 1);
    while (atomic_load(&passes) == last) pthread_cond_wait(&wake, &asleep);
    atomic_fetch_sub(&sleepers, 1);
    pthread_mutex_unlock(&asleep);
}

static void *helper(void *number)
{
    const int thread = (int)(intptr_t)number;
    long idle = 0;
    unsigned pass = atomic_load(&passes);
    for (unsigned turn = 1;; turn++) {
        if (thread < atomic_load_explicit(&allowed, memory_order_relaxed) && help(thread)) {
            idle = 0;
            continue;
        }
        PAUSE();
        if (turn % 64) continue;
        long now = now_ns();
        if (!idle) idle = now, pass = atomic_load(&passes);
        if (now - idle > SPIN_NS) sleep_until(pass), idle = 0;
    }
    return NULL;
}

/* Take the pool for a pass of up to so many threads; the number of scratch areas that items may ask for. */
int pool_begin(int threads)
{
    pthread_mutex_lock(&busy);
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    sigset_t all, before; /* signals are for the threads that were here first */
    sigfillset(&all);
    while (helpers < threads - 1) {
        pthread_t id;
        pthread_attr_t detached;
        pthread_attr_init(&detached);
        pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int failed = pthread_create(&id, &detached, helper, (void *)(intptr_t)(helpers + 1));
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&detached);
        if (failed) break; /* fewer threads, the same results */
        helpers++;
    }
    active = threads < helpers + 1 ? threads : helpers + 1;
    atomic_store(&allowed, active);
    atomic_fetch_add(&passes, 1);
    if (active > 1 && atomic_load(&sleepers)) {
        pthread_mutex_lock(&asleep);
        pthread_cond_broadcast(&wake);
        pthread_mutex_unlock(&asleep);
    }
    return helpers + 1;
}

static void run_some(int first, int items)
{
    static uint32_t number;
    base = first;
    atomic_store_explicit(&done, 0, memory_order_relaxed);
    number++;
    atomic_store_explicit(&ticket, (uint64_t)number << 32 | (uint64_t)items << 16, memory_order_release);
    help(0);
    for (unsigned turn = 1; atomic_load_explicit(&done, memory_order_acquire) < items; turn++) {
        PAUSE();
        if (turn > TURNS) sched_yield(); /* a helper without a core may be waiting for this one */
    }
}

void pool_run(Stage run, void *on, int items)
{
    if (active == 1 || items == 1) {
        for (int i = 0; i < items; i++) run(on, i, 0);
        return;
    }
    stage = run, what = on;
    for (int i = 0; i < items; i += MOST_ITEMS) run_some(i, items - i < MOST_ITEMS ? items - i : MOST_ITEMS);
}

void pool_end(void)
{
    atomic_store(&allowed, 0);
    pthread_mutex_unlock(&busy);
}

/* In a child process there are no helpers, and no pass is under way. */
void pool_forked(void)
{
    pthread_mutex_init(&busy, NULL);
    pthread_mutex_init(&asleep, NULL);
    pthread_cond_init(&wake, NULL);
    helpers = 0;
    atomic_store(&sleepers, 0);
    atomic_store(&allowed, 0);
    atomic_store(&ticket, 0);
}

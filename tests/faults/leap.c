/*
 * Preloaded into a process, puts its wall clock ahead of the true one by the seconds that the file LEAP_FILE holds, and
 * lets it leap when they change. The monotonic clock is left alone. A wait until a time of day ends when the clock that
 * leaps has reached it, as the kernel's own would.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>

#define LOOK_NS 50000000L
#define YEARS_S 1000000000L

static int (*true_clock)(clockid_t, struct timespec *);
static int (*true_wait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
static int (*true_cnd)(cnd_t *, mtx_t *, const struct timespec *);
static long ahead_s;
static long looked_ns;

static void find(void) {
    if (!true_clock) true_clock = dlsym(RTLD_NEXT, "clock_gettime");
    if (!true_wait) true_wait = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!true_wait) true_wait = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    if (!true_cnd) true_cnd = dlsym(RTLD_NEXT, "cnd_timedwait");
}

static long ahead(void) {
    struct timespec now;
    find();
    true_clock(CLOCK_MONOTONIC, &now);
    long ns = now.tv_sec * 1000000000L + now.tv_nsec;
    if (!looked_ns || ns - __atomic_load_n(&looked_ns, __ATOMIC_RELAXED) > LOOK_NS) {
        __atomic_store_n(&looked_ns, ns, __ATOMIC_RELAXED);
        const char *path = getenv("LEAP_FILE");
        FILE *file = path ? fopen(path, "r") : NULL;
        long found;
        if (file) {
            if (fscanf(file, "%ld", &found) == 1) __atomic_store_n(&ahead_s, found, __ATOMIC_RELAXED);
            fclose(file);
        }
    }
    return __atomic_load_n(&ahead_s, __ATOMIC_RELAXED);
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    find();
    int failed = true_clock(clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += ahead();
    return failed;
}

int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *at, int base) {
    return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, at) ? base : 0;
}

/* How long to wait by the true clock before looking again, as a time of day; false when the other has come. */
static int next_look(const struct timespec *until, struct timespec *next) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    long left_s = until->tv_sec - now.tv_sec, left_ns = until->tv_nsec - now.tv_nsec;
    if (left_s < 0 || (left_s == 0 && left_ns <= 0)) return 0;
    left_ns = left_s > 1 ? LOOK_NS : left_s * 1000000000L + left_ns;
    true_clock(CLOCK_REALTIME, next);
    next->tv_nsec += left_ns < LOOK_NS ? left_ns : LOOK_NS;
    next->tv_sec += next->tv_nsec / 1000000000L;
    next->tv_nsec %= 1000000000L;
    return 1;
}

int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until) {
    struct timespec next;
    find();
    /* A condition may go by the monotonic clock, which counts from the machine's start. */
    if (until->tv_sec < YEARS_S) return true_wait(cond, mutex, until);
    while (next_look(until, &next)) {
        int found = true_wait(cond, mutex, &next);
        if (found != ETIMEDOUT) return found;
    }
    return ETIMEDOUT;
}

int cnd_timedwait(cnd_t *cond, mtx_t *mutex, const struct timespec *until) {
    struct timespec next;
    find();
    while (next_look(until, &next)) {
        int found = true_cnd(cond, mutex, &next);
        if (found != thrd_timedout) return found;
    }
    return thrd_timedout;
}

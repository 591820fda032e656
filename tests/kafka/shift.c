/* Shifts the wall clock of a process by as many seconds as the file SHIFT_FILE says; no other clock.
 *
 * Not for librdkafka, which hands absolute times to the kernel: there the clock is not shifted.
 * The file is read ten times a second. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

static int (*real_clock)(clockid_t, struct timespec *);
static int (*real_day)(struct timeval *, void *);
static struct { void *caller; int client; } known[256];

static int is_client(void *caller) {
    unsigned slot = ((uintptr_t)caller >> 2) % 256;
    if (known[slot].caller != caller) {
        Dl_info found;
        known[slot].client = dladdr(caller, &found) && found.dli_fname && strstr(found.dli_fname, "rdkafka");
        known[slot].caller = caller;
    }
    return known[slot].client;
}

static long shift(void *caller) {
    static long seconds, looked = -1;
    struct timespec now;
    if (!real_clock) real_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    real_clock(CLOCK_MONOTONIC, &now);
    long tenth = now.tv_sec * 10 + now.tv_nsec / 100000000;
    if (tenth != looked) {
        const char *path = getenv("SHIFT_FILE");
        FILE *file = path ? fopen(path, "r") : NULL;
        looked = tenth;
        if (file) {
            if (fscanf(file, "%ld", &seconds) != 1) seconds = 0;
            fclose(file);
        }
    }
    return seconds && !is_client(caller) ? seconds : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!real_clock) real_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real_clock(clock, now);
    if (!result && clock == CLOCK_REALTIME) now->tv_sec += shift(__builtin_return_address(0));
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    if (!real_day) real_day = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
    int result = real_day(now, zone);
    if (!result) now->tv_sec += shift(__builtin_return_address(0));
    return result;
}

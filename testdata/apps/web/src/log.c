#include "log.h"

#include <pthread.h>
#include <string.h>

struct entry {
    char ship[LOG_SHIP];
    enum log_event event;
};

static struct entry entries[LOG_ENTRIES];
static size_t next, count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

int log_add(const char *ship, enum log_event event) {
    size_t len = strlen(ship);
    if (len == 0 || len >= LOG_SHIP) return -1;
    pthread_mutex_lock(&lock);
    memcpy(entries[next].ship, ship, len + 1);
    entries[next].event = event;
    next = (next + 1) % LOG_ENTRIES;
    if (count < LOG_ENTRIES) count++;
    pthread_mutex_unlock(&lock);
    return 0;
}

size_t log_count(void) {
    pthread_mutex_lock(&lock);
    size_t n = count;
    pthread_mutex_unlock(&lock);
    return n;
}

static const struct entry *newest(size_t back) {
    return &entries[(next + LOG_ENTRIES - 1 - back) % LOG_ENTRIES];
}

/* A ship counts by its newest entry alone. */
size_t log_in_harbour(void) {
    size_t ships = 0;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < count; i++) {
        int seen = 0;
        for (size_t j = 0; j < i && !seen; j++) seen = !strcmp(newest(i)->ship, newest(j)->ship);
        if (!seen && newest(i)->event == LOG_ARRIVED) ships++;
    }
    pthread_mutex_unlock(&lock);
    return ships;
}

void log_each(void (*each)(const char *, enum log_event, void *), void *data) {
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < count; i++) each(newest(i)->ship, newest(i)->event, data);
    pthread_mutex_unlock(&lock);
}

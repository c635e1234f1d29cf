/* The harbour log: the last entries, kept in memory. */
#ifndef LOG_H
#define LOG_H

#include <stddef.h>

enum { LOG_ENTRIES = 64, LOG_SHIP = 64 };

enum log_event { LOG_ARRIVED, LOG_LEFT };

/* Adds an entry, dropping the oldest when the log is full. -1 when the ship's name is empty or too long. */
int log_add(const char *ship, enum log_event event);

/* Number of entries; ships in the harbour: arrived and not left since. */
size_t log_count(void);
size_t log_in_harbour(void);

/* Calls `each` for every entry, newest first, under the log's lock. */
void log_each(void (*each)(const char *ship, enum log_event event, void *data), void *data);

#endif

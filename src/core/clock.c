/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* timegm */
#include "reseal/clock.h"

#include <errno.h>
#include <time.h>

static int64_t now_ms(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts); /* cannot fail for these clocks */
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t clock_monotonic_ms(void)
{
    return now_ms(CLOCK_MONOTONIC);
}

int64_t clock_monotonic_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void clock_sleep_ms(int64_t ms)
{
    struct timespec left = {ms / 1000, (ms % 1000) * 1000000};
    while (ms > 0 && nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

int64_t clock_real_ms(void)
{
    return now_ms(CLOCK_REALTIME);
}

/* Writes the number with exactly `count` digits and the character after it. */
static char *put_digits(char *at, int number, int count, char after)
{
    for (int i = count - 1; i >= 0; i--, number /= 10)
        at[i] = (char)('0' + number % 10);
    at[count] = after;
    return at + count + 1;
}

void clock_format(int64_t real_ms, char out[static CLOCK_TEXT])
{
    int64_t seconds = real_ms / 1000, rest = real_ms % 1000;
    if (rest < 0) {
        rest += 1000;
        seconds--;
    }
    time_t whole = (time_t)seconds;
    struct tm tm = {0};
    gmtime_r(&whole, &tm);
    char *at = put_digits(out, tm.tm_year + 1900, 4, '-');
    at = put_digits(at, tm.tm_mon + 1, 2, '-');
    at = put_digits(at, tm.tm_mday, 2, 'T');
    at = put_digits(at, tm.tm_hour, 2, ':');
    at = put_digits(at, tm.tm_min, 2, ':');
    at = put_digits(at, tm.tm_sec, 2, '.');
    at = put_digits(at, (int)rest, 3, 'Z');
    *at = '\0';
}

/* Reads exactly `count` digits. */
static bool digits(const char **at, int count, int *out)
{
    int value = 0;
    for (int i = 0; i < count; i++, (*at)++) {
        if (**at < '0' || **at > '9')
            return false;
        value = value * 10 + (**at - '0');
    }
    *out = value;
    return true;
}

static bool literal(const char **at, char c)
{
    if (**at != c)
        return false;
    (*at)++;
    return true;
}

/* RFC 3339 section 5.6, time-secfrac; digits beyond the third are dropped. */
static bool fraction(const char **at, int *ms)
{
    *ms = 0;
    if (!literal(at, '.'))
        return true;
    if (**at < '0' || **at > '9')
        return false;
    for (int scale = 100; **at >= '0' && **at <= '9'; (*at)++, scale /= 10)
        *ms += (**at - '0') * scale;
    return true;
}

/* RFC 3339 section 5.6, time-offset, in minutes. */
static bool offset(const char **at, int *minutes)
{
    *minutes = 0;
    if (literal(at, 'Z') || literal(at, 'z'))
        return true;
    int sign = **at == '+' ? 1 : **at == '-' ? -1 : 0;
    int h, m;
    if (sign == 0)
        return false;
    (*at)++;
    if (!digits(at, 2, &h) || !literal(at, ':') || !digits(at, 2, &m) || h > 23 || m > 59)
        return false;
    *minutes = sign * (h * 60 + m);
    return true;
}

bool clock_parse(const char *text, int64_t *real_ms)
{
    const char *at = text;
    int year, month, day, hour, minute, second, ms, minutes;
    if (!digits(&at, 4, &year) || !literal(&at, '-') || !digits(&at, 2, &month) ||
        !literal(&at, '-') || !digits(&at, 2, &day))
        return false;
    if (!literal(&at, 'T') && !literal(&at, 't'))
        return false;
    if (!digits(&at, 2, &hour) || !literal(&at, ':') || !digits(&at, 2, &minute) ||
        !literal(&at, ':') || !digits(&at, 2, &second) || !fraction(&at, &ms) ||
        !offset(&at, &minutes) || *at != '\0')
        return false;
    if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60)
        return false;
    struct tm tm = {.tm_year = year - 1900,
                    .tm_mon = month - 1,
                    .tm_mday = day,
                    .tm_hour = hour,
                    .tm_min = minute,
                    .tm_sec = second == 60 ? 59 : second};
    time_t whole = timegm(&tm);
    if (tm.tm_mday != day) /* timegm moved a 31 June to July */
        return false;
    *real_ms = ((int64_t)whole - (int64_t)minutes * 60) * 1000 + ms;
    return true;
}

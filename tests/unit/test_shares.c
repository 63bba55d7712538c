/* SPDX-License-Identifier: Apache-2.0 */
/* Shares of a PIN. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <openssl/evp.h>
#include "check.h"
#include "reseal/shares.h"

#define PIN "4711-Secret"

struct set {
    struct share_facts facts;
    struct secret *lines[SHARES_MAX];
};

static void make(struct set *set, const char *pin, unsigned needed, unsigned count)
{
    struct error err = ERROR_INIT;
    struct secret *secret = NULL;
    assert_ok(secret_copy(pin, strlen(pin), &secret, &err), &err);
    assert_ok(shares_make(secret, needed, count, set->lines, &set->facts, &err), &err);
    secret_free(&secret);
}

static void set_free(struct set *set)
{
    for (unsigned i = 0; i < set->facts.count; i++)
        secret_free(&set->lines[i]);
}

static bool add(struct share_joining *joining, const struct set *set, unsigned number,
                struct error *err)
{
    struct share_facts facts;
    return share_joining_add(joining, secret_bytes(set->lines[number - 1]), &facts, err);
}

static void assert_joins(const struct set *set, const unsigned *numbers, size_t count,
                         const char *pin)
{
    struct error err = ERROR_INIT;
    struct share_joining *joining = NULL;
    struct secret *joined = NULL;
    assert_ok(share_joining_new(&joining, &err), &err);
    for (size_t i = 0; i < count; i++)
        assert_ok(add(joining, set, numbers[i], &err), &err);
    assert_int_equal(share_joining_missing(joining), 0);
    assert_ok(share_joining_finish(joining, &joined, &err), &err);
    assert_int_equal(secret_len(joined), strlen(pin));
    assert_memory_equal(secret_bytes(joined).data, pin, strlen(pin));
    secret_free(&joined);
    share_joining_free(&joining);
}

static void any_that_are_enough_give_the_pin(void **state)
{
    (void)state;
    struct set set;
    make(&set, PIN, 3, 5);
    for (unsigned a = 1; a <= 5; a++) {
        for (unsigned b = 1; b <= 5; b++) {
            for (unsigned c = 1; c <= 5; c++) {
                const unsigned numbers[] = {a, b, c};
                if (a != b && b != c && a != c)
                    assert_joins(&set, numbers, 3, PIN);
            }
        }
    }
    const unsigned all[] = {5, 4, 3, 2, 1};
    assert_joins(&set, all, 5, PIN);
    set_free(&set);
}

static void all_lengths_and_sizes_come_back(void **state)
{
    (void)state;
    char pin[SHARE_SECRET_MAX + 1];
    for (size_t len = 1; len <= SHARE_SECRET_MAX; len += len < 40 ? 1 : 43) {
        struct set set;
        for (size_t i = 0; i < len; i++)
            pin[i] = (char)(1 + (i * 37 + len) % 255);
        pin[len] = '\0';
        make(&set, pin, 2, 3);
        const unsigned numbers[] = {3, 1};
        assert_joins(&set, numbers, 2, pin);
        set_free(&set);
    }
    struct set largest;
    unsigned numbers[SHARES_MAX];
    make(&largest, PIN, SHARES_MAX, SHARES_MAX);
    for (unsigned i = 0; i < SHARES_MAX; i++)
        numbers[i] = SHARES_MAX - i;
    assert_joins(&largest, numbers, SHARES_MAX, PIN);
    set_free(&largest);
}

static void too_few_are_not_joined(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct set set;
    struct share_joining *joining = NULL;
    struct secret *joined = NULL;
    make(&set, PIN, 3, 4);
    assert_ok(share_joining_new(&joining, &err), &err);
    assert_ok(add(joining, &set, 2, &err), &err);
    assert_int_equal(share_joining_missing(joining), 2);
    assert_ok(add(joining, &set, 4, &err), &err);
    assert_refused(share_joining_finish(joining, &joined, &err), &err, FAIL_USAGE);
    assert_null(joined);
    assert_refused(add(joining, &set, 4, &err), &err, FAIL_EXISTS);
    assert_int_equal(share_joining_missing(joining), 1);
    share_joining_free(&joining);
    set_free(&set);
}

/* Every letter of a share, changed to every other one: found by the checksum, and the share named
 * where its own number could be read. */
static void a_slip_of_the_pen_is_found_and_the_share_is_named(void **state)
{
    (void)state;
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    struct error err = ERROR_INIT;
    struct set set;
    struct share_joining *joining = NULL;
    struct share_facts facts;
    char line[SHARE_LINE_MAX];
    size_t named = 0;
    make(&set, PIN, 2, 3);
    struct bytes whole = secret_bytes(set.lines[1]);
    assert_ok(share_joining_new(&joining, &err), &err);
    for (size_t i = 0; i < whole.len; i++) {
        for (const char *letter = letters; *letter != '\0'; letter++) {
            memcpy(line, whole.data, whole.len);
            if (line[i] == '-' || line[i] == *letter)
                continue;
            line[i] = *letter;
            err = (struct error)ERROR_INIT;
            assert_refused(share_joining_add(joining,
                                             (struct bytes){(const uint8_t *)line, whole.len},
                                             &facts, &err),
                           &err, FAIL_INPUT);
            if (strstr(err.text, "share 2 of set") != NULL && strstr(err.text, "checksum") != NULL)
                named++;
            assert_null(strstr(err.text, "4711"));
        }
    }
    assert_true(named > 1000);
    assert_int_equal(share_joining_missing(joining), 1);
    for (size_t len = 0; len < whole.len; len++)
        assert_refused(share_joining_add(joining, (struct bytes){whole.data, len}, &facts, &err),
                       &err, FAIL_INPUT);
    share_joining_free(&joining);
    set_free(&set);
}

static void what_is_written_otherwise_is_the_same_share(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct set set;
    struct share_joining *joining = NULL;
    struct share_facts facts;
    char line[2 * SHARE_LINE_MAX];
    size_t len = 0;
    make(&set, PIN, 2, 2);
    struct bytes whole = secret_bytes(set.lines[0]);
    for (size_t i = 0; i < whole.len; i++) {
        char letter = (char)whole.data[i];
        line[len++] = letter == '-'                    ? ' '
                      : letter == 'O'                  ? '0'
                      : letter == 'I'                  ? '1'
                      : letter >= 'A' && letter <= 'Z' ? (char)(letter - 'A' + 'a')
                                                       : letter;
    }
    line[len++] = '\r';
    line[len++] = '\n';
    assert_ok(share_joining_new(&joining, &err), &err);
    assert_ok(share_joining_add(joining, (struct bytes){(const uint8_t *)line, len}, &facts, &err),
              &err);
    assert_int_equal(facts.number, 1);
    assert_int_equal(facts.needed, 2);
    assert_int_equal(facts.count, 2);
    assert_string_equal(facts.set, set.facts.set);
    share_joining_free(&joining);
    set_free(&set);
}

static void a_share_of_another_set_is_recognised(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct set set, other;
    struct share_joining *joining = NULL;
    make(&set, PIN, 2, 3);
    make(&other, PIN, 2, 3);
    assert_string_not_equal(set.facts.set, other.facts.set);
    assert_ok(share_joining_new(&joining, &err), &err);
    assert_ok(add(joining, &set, 1, &err), &err);
    assert_refused(add(joining, &other, 2, &err), &err, FAIL_POLICY);
    assert_non_null(strstr(err.text, other.facts.set));
    assert_int_equal(share_joining_missing(joining), 1);
    share_joining_free(&joining);
    set_free(&set);
    set_free(&other);
}

/* A share that somebody has made up: whole by its own checksum, with another body. */
static void forge(struct bytes line, uint8_t *out, size_t *out_len)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    static const char purpose[] = "reseal share";
    uint8_t bytes[512], digest[EVP_MAX_MD_SIZE];
    size_t len = 0, letter_count = 0;
    unsigned bits = 0, held = 0;
    for (size_t i = 0; i < line.len; i++) {
        if (line.data[i] == '-')
            continue;
        held = ((held << 5) | (unsigned)(strchr(letters, line.data[i]) - letters)) & 0xfffu;
        bits += 5;
        letter_count++;
        if (bits >= 8) {
            bits -= 8;
            bytes[len++] = (uint8_t)(held >> bits);
        }
    }
    bytes[len - 8] ^= 1; /* of the body; the checksum is the last four */
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestInit_ex(context, EVP_sha256(), NULL), 1);
    assert_int_equal(EVP_DigestUpdate(context, purpose, sizeof purpose), 1);
    assert_int_equal(EVP_DigestUpdate(context, bytes, len - 4), 1);
    assert_int_equal(EVP_DigestFinal_ex(context, digest, NULL), 1);
    EVP_MD_CTX_free(context);
    memcpy(bytes + len - 4, digest, 4);
    bits = held = 0;
    *out_len = 0;
    for (size_t i = 0; *out_len < letter_count; i++) {
        held = ((held << 8) | (i < len ? bytes[i] : 0u)) & 0xfffffu;
        for (bits += 8; bits >= 5 && *out_len < letter_count; bits -= 5)
            out[(*out_len)++] = (uint8_t)letters[(held >> (bits - 5)) & 31u];
    }
}

static void a_share_that_was_made_up_gives_nothing(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct set set;
    struct share_joining *joining = NULL;
    struct share_facts facts;
    struct secret *joined = NULL;
    uint8_t forged[SHARE_LINE_MAX];
    size_t len;
    make(&set, PIN, 2, 3);
    forge(secret_bytes(set.lines[1]), forged, &len);
    assert_ok(share_joining_new(&joining, &err), &err);
    assert_ok(add(joining, &set, 1, &err), &err);
    assert_ok(share_joining_add(joining, (struct bytes){forged, len}, &facts, &err), &err);
    assert_int_equal(facts.number, 2);
    assert_refused(share_joining_finish(joining, &joined, &err), &err, FAIL_POLICY);
    assert_null(joined);
    share_joining_free(&joining);
    set_free(&set);
}

/* One share tells nothing: over many sets of one PIN, each letter of the body takes many values. */
static void one_share_alone_tells_nothing(void **state)
{
    (void)state;
    enum {
        SETS = 200,
        FROM = 20, /* behind the header */
        UNTIL = 40
    };
    static bool seen[UNTIL][128];
    for (int i = 0; i < SETS; i++) {
        struct set set;
        make(&set, PIN, 2, 2);
        for (size_t k = FROM; k < UNTIL; k++)
            seen[k][secret_bytes(set.lines[0]).data[k] & 127] = true;
        set_free(&set);
    }
    for (size_t k = FROM; k < UNTIL; k++) {
        unsigned values = 0;
        for (size_t letter = 0; letter < 128; letter++)
            values += seen[k][letter];
        assert_true(seen[k]['-'] ? values == 1 : values >= 25);
    }
}

static void wishes_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    static const unsigned wishes[][2] = {{0, 3}, {1, 3}, {4, 3}, {2, 17}, {17, 17}};
    struct error err = ERROR_INIT;
    struct secret *pin = NULL, *empty = NULL, *lines[SHARES_MAX];
    struct share_facts facts;
    assert_ok(secret_copy(PIN, strlen(PIN), &pin, &err), &err);
    assert_ok(secret_new(0, &empty, &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(wishes); i++)
        assert_refused(shares_make(pin, wishes[i][0], wishes[i][1], lines, &facts, &err), &err,
                       FAIL_USAGE);
    assert_refused(shares_make(empty, 2, 3, lines, &facts, &err), &err, FAIL_USAGE);
    secret_free(&pin);
    secret_free(&empty);
}

static void shares_are_a_source_of_a_secret(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct set set;
    struct secret *joined = NULL;
    char source[32];
    int ends[2];
    make(&set, PIN, 2, 3);
    assert_int_equal(pipe(ends), 0);
    FILE *out = fdopen(ends[1], "w");
    assert_non_null(out);
    fprintf(out, "# share 3\n%.*s\n\n%.*s\n", (int)secret_len(set.lines[2]),
            (const char *)secret_bytes(set.lines[2]).data, (int)secret_len(set.lines[0]),
            (const char *)secret_bytes(set.lines[0]).data);
    assert_int_equal(fclose(out), 0);
    snprintf(source, sizeof source, "shares:fd:%d", ends[0]);
    assert_ok(secret_source_check(source, &err), &err);
    assert_ok(secret_source_check("shares:prompt", &err), &err);
    assert_refused(secret_source_check("shares:", &err), &err, FAIL_USAGE);
    assert_ok(secret_read(source, "PIN", 255, &joined, &err), &err);
    assert_int_equal(secret_len(joined), strlen(PIN));
    assert_memory_equal(secret_bytes(joined).data, PIN, strlen(PIN));
    close(ends[0]);
    secret_free(&joined);
    set_free(&set);
}

static int start(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    return secret_heap_open(1 << 18, &err) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_that_are_enough_give_the_pin),
        cmocka_unit_test(all_lengths_and_sizes_come_back),
        cmocka_unit_test(too_few_are_not_joined),
        cmocka_unit_test(a_slip_of_the_pen_is_found_and_the_share_is_named),
        cmocka_unit_test(what_is_written_otherwise_is_the_same_share),
        cmocka_unit_test(a_share_of_another_set_is_recognised),
        cmocka_unit_test(a_share_that_was_made_up_gives_nothing),
        cmocka_unit_test(one_share_alone_tells_nothing),
        cmocka_unit_test(wishes_that_make_no_sense_are_refused),
        cmocka_unit_test(shares_are_a_source_of_a_secret),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}

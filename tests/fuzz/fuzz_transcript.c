/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record of a ceremony, which an auditor has from anybody. Input that begins with '=' is the
 * file as it is; otherwise each line of it is the text of a line of the record up to its last
 * member, and is bound and sealed here, so that what a line says is reached and not only its
 * hashes.
 *
 * Whatever it is: it is read or refused with an error that can be shown; every finding of `verify`
 * can be shown, a record of this form that is wrong nowhere tells of a state, and `show` comes to
 * its end.
 */
#include "fuzz.h"

#include <sys/mman.h>
#include <unistd.h>
#include "reseal/ceremony_show.h"
#include "reseal/ceremony_verify.h"
#include "reseal/digest.h"

#define RECORD_MAX (1024 * 1024)

static FILE *nowhere;
static int memory;
static char path[64];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    nowhere = fopen("/dev/null", "w");
    memory = memfd_create("record", MFD_CLOEXEC);
    FUZZ_CHECK(nowhere != NULL && memory >= 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", memory);
    return 0;
}

/* "{...}" without its brace, the binding, the seal. */
static void seal(struct bytes line, char head[static DIGEST_TEXT], struct buf *out)
{
    struct error err = ERROR_INIT;
    char own[DIGEST_TEXT];
    struct buf text = BUF_INIT(RECORD_MAX);
    buf_put(&text, line.data, line.len);
    buf_printf(&text, ",\"previous\":\"%s\"", head);
    FUZZ_OK(digest_of(buf_bytes(&text), own, &err), &err);
    buf_printf(&text, ",\"hash\":\"%s\"}", own);
    FUZZ_OK(digest_of(buf_bytes(&text), head, &err), &err);
    buf_put(out, text.data, text.len);
    buf_put_u8(out, '\n');
    buf_free(&text);
}

static void make_record(const uint8_t *data, size_t size, struct buf *out)
{
    char head[DIGEST_TEXT];
    if (size > 0 && data[0] == '=') {
        buf_put(out, data + 1, size - 1);
        return;
    }
    memset(head, '0', DIGEST_TEXT - 1);
    head[DIGEST_TEXT - 1] = '\0';
    while (size > 0) {
        const uint8_t *end = memchr(data, '\n', size);
        size_t len = end != NULL ? (size_t)(end - data) : size;
        seal((struct bytes){data, len}, head, out);
        size -= len + (end != NULL);
        data += len + (end != NULL);
    }
}

static void check_findings(const struct verification *verification)
{
    size_t wrong = 0;
    for (size_t i = 0; i < verification->count; i++) {
        const struct verify_finding *finding = &verification->findings[i];
        wrong += finding->verdict == VERIFIED_WRONG;
        FUZZ_CHECK(finding->about[0] != '\0' && finding->text[0] != '\0');
    }
    FUZZ_CHECK((wrong > 0) == (verification->wrong > 0));
    FUZZ_CHECK(verification->record != NULL || verification->wrong > 0);
    FUZZ_CHECK(verification->counted <= verification->signature_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = ERROR_INIT;
    struct verification *verification = NULL;
    const struct verify_options options = {.transcript = path};
    struct buf record = BUF_INIT(RECORD_MAX);
    make_record(data, size, &record);
    FUZZ_CHECK(ftruncate(memory, 0) == 0 &&
               pwrite(memory, record.data, record.len, 0) == (ssize_t)record.len);
    FUZZ_OK(ceremony_verify(&options, &verification, &err), &err);
    check_findings(verification);
    if (verification->record != NULL)
        ceremony_show(verification->record, nowhere);
    verification_free(&verification);
    buf_free(&record);
    return 0;
}

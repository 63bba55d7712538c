/* SPDX-License-Identifier: Apache-2.0 */
/* From what the token has given to the message (RFC 5652, section 6). */
#include <string.h>
#include "custody.h"
#include "reseal/xml_text.h"

void harvest_free(struct harvest *harvest)
{
    buf_free(&harvest->encrypted_key);
    buf_free(&harvest->encrypted_content);
    buf_free(&harvest->originator);
    secret_free(&harvest->password);
}

void harvest_reset(struct harvest *harvest)
{
    buf_reset(&harvest->encrypted_key);
    buf_reset(&harvest->encrypted_content);
    buf_reset(&harvest->originator);
    secret_free(&harvest->password);
}

static bool join(const struct reseal_job *job, struct secret **password, struct error *err)
{
    size_t len = secret_len(*password);
    if (job->prefix.len == 0 && job->suffix.len == 0)
        return true;
    struct secret *whole = NULL;
    if (!secret_new(job->prefix.len + len + job->suffix.len, &whole, err)) {
        err->kind = FAIL_TOKEN; /* other jobs hold the locked memory for now: worth another try */
        return false;
    }
    uint8_t *at = secret_data(whole);
    if (job->prefix.len > 0)
        memcpy(at, job->prefix.data, job->prefix.len);
    memcpy(at + job->prefix.len, secret_data(*password), len);
    if (job->suffix.len > 0)
        memcpy(at + job->prefix.len + len, job->suffix.data, job->suffix.len);
    secret_free(password);
    *password = whole;
    return true;
}

/* In custody token nobody can look. Nothing about the seal is told by it: what gets here was opened
 * and is whole. */
static bool check_text(const struct reseal_job *job, const struct secret *password,
                       struct error *err)
{
    if (!job->in_cdata || cdata_trouble(secret_bytes(password)) == NULL)
        return true;
    error_set(err, FAIL_UNSUPPORTED,
              "the password has something in it that a profile cannot carry");
    return error_hint(err,
                      "give the PFX another password and import it again, or ask for the format "
                      "cms; `reseal pfx import` says what it is");
}

bool harvest_finish(struct harvest *harvest, const struct reseal_job *job, struct buf *der,
                    struct error *err)
{
    if (harvest->custody == CUSTODY_TOKEN)
        return cms_assemble(job->recipient, &harvest->parts, der, err);
    bool ok =
        check_text(job, harvest->password, err) && join(job, &harvest->password, err) &&
        cms_encrypt(job->recipient, secret_bytes(harvest->password), job->transport, der, err);
    secret_free(&harvest->password);
    return ok;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "access_file.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include "reseal/file.h"
#include "reseal/key_wrap.h"
#include "reseal/settings.h"

#define FILE_BYTES 16384
#define SECRET_KEY "aws_secret_access_key"

bool access_file_open(const struct config *config, const char *from, struct access_file *file,
                      struct error *err)
{
    struct secret *old = NULL;
    struct stat status = {.st_mode = 0600};
    const char *wrap = config_text(config, "hub", "access_key_wrap");
    *file = (struct access_file){.text = BUF_INIT(FILE_BYTES), .mode = 0600};
    if (!config_want(config, "hub", "credentials", &file->path, err))
        return error_hint(
            err, "where the hub has settings of its own, name them: --config " SETTINGS_HUB_PATH);
    if ((wrap != NULL && !key_wrap_read(wrap, &file->wrap, err)) ||
        (from != NULL && !key_wrap_read(from, &old, err)))
        return false;
    bool ok = stat(file->path, &status) != 0 && errno == ENOENT; /* the first key makes it */
    if (!ok) {
        file->mode = status.st_mode & 0777;
        ok = credentials_load_hub(file->path, old != NULL ? old : file->wrap, &file->all, err) &&
             file_read(file->path, &file->text, err);
    }
    secret_free(&old);
    return ok;
}

void access_file_close(struct access_file *file)
{
    credentials_free(&file->all);
    secret_free(&file->wrap);
    buf_free(&file->text);
}

static void put_secret(struct buf *out, const struct credential *credential)
{
    struct bytes secret = secret_bytes(credential->secret_access_key);
    buf_put_text(out, SECRET_KEY " = ");
    buf_put(out, secret.data, secret.len);
    buf_put_text(out, "\n");
}

static bool put_wrapped(struct buf *out, const struct secret *wrap,
                        const struct credential *credential, struct error *err)
{
    buf_put_text(out, SECRET_KEY "_wrapped = ");
    if (!key_wrap(wrap, credential->access_key_id, credential->secret_access_key, out, err))
        return false;
    buf_put_text(out, "\n");
    return true;
}

void access_profile_put(struct buf *out, const char *profile, const struct credential *credential)
{
    buf_printf(out, "[%s]\naws_access_key_id = %s\n", profile, credential->access_key_id);
    put_secret(out, credential);
}

bool access_file_add(struct access_file *file, const struct credential *credential,
                     struct error *err)
{
    struct buf *text = &file->text;
    if (file->all != NULL && credentials_by_profile(file->all, credential->profile) != NULL) {
        error_set(err, FAIL_EXISTS, "%s has a key [%s] already", file->path, credential->profile);
        return error_hint(err, "give the new one another name, and remove the old one when nobody "
                               "uses it any more");
    }
    if (file->all != NULL && credentials_count(file->all) == CREDENTIALS_MAX)
        return error_set(err, FAIL_TOO_LARGE, "%s has %d keys already, which is the bound",
                         file->path, CREDENTIALS_MAX);
    if (text->len > 0)
        buf_put_text(text, text->data[text->len - 1] == '\n' ? "\n" : "\n\n");
    buf_printf(text, "[%s]\naws_access_key_id = %s\n", credential->profile,
               credential->access_key_id);
    if (file->wrap == NULL)
        put_secret(text, credential);
    else if (!put_wrapped(text, file->wrap, credential, err))
        return false;
    if (credential->rights[0] != '\0')
        buf_printf(text, "rights = %s\n", credential->rights);
    return buf_check(text, file->path, err);
}

/* The next line of the text, with its end. */
static bool next_line(struct bytes *left, struct bytes *line)
{
    if (left->len == 0)
        return false;
    const uint8_t *end = memchr(left->data, '\n', left->len);
    line->data = left->data;
    line->len = end != NULL ? (size_t)(end - left->data) + 1 : left->len;
    left->data += line->len;
    left->len -= line->len;
    return true;
}

static size_t blanks(struct bytes line)
{
    size_t count = 0;
    while (count < line.len && (line.data[count] == ' ' || line.data[count] == '\t'))
        count++;
    return count;
}

/* True for a line "[name]"; `name` gets what is between the brackets. */
static bool is_section(struct bytes line, struct bytes *name)
{
    size_t at = blanks(line);
    if (at == line.len || line.data[at] != '[')
        return false;
    const uint8_t *end = memchr(line.data + at, ']', line.len - at);
    if (end == NULL)
        return false;
    *name = (struct bytes){line.data + at + 1, (size_t)(end - line.data) - at - 1};
    return true;
}

static bool is_text(struct bytes bytes, const char *text)
{
    return bytes.len == strlen(text) && memcmp(bytes.data, text, bytes.len) == 0;
}

static void take_over(struct access_file *file, struct buf *text)
{
    buf_free(&file->text);
    file->text = *text;
    *text = (struct buf)BUF_INIT(FILE_BYTES); /* transferred */
}

bool access_file_remove(struct access_file *file, const char *name, struct error *err)
{
    struct buf kept = BUF_INIT(FILE_BYTES);
    struct bytes left = buf_bytes(&file->text), line, section;
    bool inside = false;
    if (file->all == NULL || credentials_by_profile(file->all, name) == NULL) {
        error_set(err, FAIL_NOT_FOUND, "%s has no key [%.64s]", file->path, name);
        return error_hint(err, "see: reseal access list");
    }
    if (credentials_count(file->all) == 1) {
        error_set(err, FAIL_POLICY,
                  "[%s] is the last key in %s; a hub without any does not start, "
                  "and a running one would go on with this one",
                  name, file->path);
        return error_hint(err, "add another key first: reseal access add NAME");
    }
    while (next_line(&left, &line)) {
        if (is_section(line, &section))
            inside = is_text(section, name);
        if (!inside)
            buf_put(&kept, line.data, line.len);
    }
    bool ok = buf_check(&kept, file->path, err);
    if (ok)
        take_over(file, &kept);
    buf_free(&kept);
    return ok;
}

/* True for a line that gives the secret half, in either form. */
static bool gives_secret(struct bytes line)
{
    size_t at = blanks(line), len = strlen(SECRET_KEY);
    return line.len - at > len && memcmp(line.data + at, SECRET_KEY, len) == 0 &&
           strchr("_ \t=", line.data[at + len]) != NULL;
}

bool access_file_wrap(struct access_file *file, size_t *count, struct error *err)
{
    struct buf text = BUF_INIT(FILE_BYTES);
    struct bytes left = buf_bytes(&file->text), line, section;
    const struct credential *credential = NULL;
    bool ok = true;
    *count = 0;
    if (file->wrap == NULL || file->all == NULL) {
        error_set(err, FAIL_USAGE,
                  file->wrap == NULL ? "hub.access_key_wrap is not configured"
                                     : "there are no access keys");
        return error_hint(err,
                          "make a key with: openssl rand -hex 32, and say in [hub] where it is "
                          "with access_key_wrap");
    }
    while (ok && next_line(&left, &line)) {
        if (is_section(line, &section)) {
            credential = NULL;
            for (size_t i = 0; i < credentials_count(file->all); i++) {
                const struct credential *one = credentials_at(file->all, i);
                if (is_text(section, one->profile))
                    credential = one;
            }
        }
        if (credential != NULL && gives_secret(line)) {
            ok = put_wrapped(&text, file->wrap, credential, err);
            *count += !credential->wrapped;
        } else {
            buf_put(&text, line.data, line.len);
        }
    }
    ok = ok && buf_check(&text, file->path, err);
    if (ok)
        take_over(file, &text);
    buf_free(&text);
    return ok;
}

bool access_file_save(const struct access_file *file, struct error *err)
{
    return file_write(file->path, file->mode, FILE_REPLACE, buf_bytes(&file->text), err);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* PFX files made by the real `openssl pkcs12`, opened by ours. */
#include "tests/unit/check.h"
#include <unistd.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include "reseal/clock.h"
#include "reseal/file.h"
#include "reseal/pfx.h"

/* UTF-8 of every length, and characters that shells and XML care about. */
#define PASSWORD "p\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80 <&>]]\"'"
#define PFX_MAX  65536

static char folder[] = "/tmp/reseal-pfx-XXXXXX";

static void shell(const char *command)
{
    char line[2048];
    snprintf(line, sizeof line, "cd %s && { %s ; } >>log 2>&1", folder, command);
    if (system(line) != 0)
        fail_msg("failed: %s (see %s/log)", command, folder);
}

static void ask_shell(const char *command, char *out, size_t size)
{
    char line[2048];
    snprintf(line, sizeof line, "cd %s && %s", folder, command);
    FILE *pipe = popen(line, "r");
    assert_non_null(pipe);
    assert_non_null(fgets(out, (int)size, pipe));
    assert_int_equal(pclose(pipe), 0);
    out[strcspn(out, "\n")] = '\0';
}

static int make_files(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    if (mkdtemp(folder) == NULL || !secret_heap_open(256 * 1024, &err))
        return -1;
    char path[128];
    snprintf(path, sizeof path, "%s/password", folder);
    struct bytes password = {(const uint8_t *)PASSWORD, sizeof PASSWORD - 1};
    if (!file_write(path, 0600, FILE_NEW, password, &err))
        return -1;
    shell("openssl req -x509 -newkey rsa:2048 -nodes -keyout rsa.key -out rsa.pem -days 30 -utf8 "
          "-subj '/O=Example/CN=J\xc3\xb6rg'");
    shell("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ec.key "
          "-out ec.pem -days 30 -subj /CN=ec");
    shell("openssl pkcs12 -export -inkey rsa.key -in rsa.pem -certfile ec.pem -passout "
          "file:password -out rsa.pfx");
    shell("openssl pkcs12 -export -inkey ec.key -in ec.pem -certfile rsa.pem -passout "
          "file:password -out ec.pfx");
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    char line[64];
    snprintf(line, sizeof line, "rm -rf %s", folder);
    return system(line);
}

static void load(const char *name, struct buf *out)
{
    char path[128];
    struct error err = ERROR_INIT;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    buf_reset(out);
    if (!file_read(path, out, &err))
        fail_msg("%s", err.text);
}

static bool open_bytes(struct bytes pfx, const char *password, size_t len, struct pfx_facts *facts,
                       struct error *err)
{
    struct secret *secret = NULL;
    assert_true(secret_copy(password, len, &secret, err));
    bool ok = pfx_open(pfx, secret, facts, err);
    secret_free(&secret);
    assert_int_equal(ERR_peek_error(), 0); /* nothing is left for the next caller to find */
    return ok;
}

static bool open_file(const char *name, const char *password, struct pfx_facts *facts,
                      struct error *err)
{
    struct buf pfx = BUF_INIT(PFX_MAX);
    load(name, &pfx);
    bool ok = open_bytes(buf_bytes(&pfx), password, strlen(password), facts, err);
    buf_free(&pfx);
    return ok;
}

static void must_open(const char *name, const char *password, struct pfx_facts *facts)
{
    struct error err = ERROR_INIT;
    if (!open_file(name, password, facts, &err))
        fail_msg("%s: %s", name, err.text);
}

static void must_fail(const char *name, const char *password, enum failure kind, const char *words)
{
    struct error err = ERROR_INIT;
    struct pfx_facts facts;
    if (open_file(name, password, &facts, &err))
        fail_msg("%s opens", name);
    if (err.kind != kind || strstr(err.text, words) == NULL)
        fail_msg("%s: %s: \"%s\" without \"%s\"", name, failure_name(err.kind), err.text, words);
    assert_null(strstr(err.text, PASSWORD));
    assert_null(strstr(err.hint, PASSWORD));
}

static const struct {
    const char *options;
    bool legacy;
} encodings[] = {
    {"", false},       /* PBES2: AES-256, HMAC-SHA-256 */
    {"-legacy", true}, /* certificates RC2-40, key 3DES */
    {"-keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1", false},
    {"-legacy -keypbe PBE-SHA1-RC2-40 -certpbe PBE-SHA1-RC2-40", true},
    {"-legacy -keypbe PBE-SHA1-RC2-128 -certpbe NONE", true},
    {"-keypbe AES-128-CBC -certpbe AES-128-CBC -macalg sha512", false},
    {"-keypbe NONE -certpbe NONE", false},
    {"-certpbe NONE", false},
    {"-nomac", false},
    {"-noiter -nomaciter", false},
};

static void opens_rsa_and_ec_keys_in_every_encoding(void **state)
{
    (void)state;
    static const char *const kinds[] = {"rsa", "ec"};
    for (size_t i = 0; i < ARRAY_LEN(encodings); i++) {
        for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
            char command[512];
            struct pfx_facts facts;
            snprintf(command, sizeof command,
                     "openssl pkcs12 -export %s -inkey %s.key -in %s.pem -passout file:password "
                     "-out any.pfx",
                     encodings[i].options, kinds[k], kinds[k]);
            shell(command);
            must_open("any.pfx", PASSWORD, &facts);
            assert_string_equal(facts.key_type, k == 0 ? "RSA" : "EC");
            assert_int_equal(facts.key_bits, k == 0 ? 2048 : 256);
            if (facts.legacy != encodings[i].legacy)
                fail_msg("legacy is wrong for \"%s\"", encodings[i].options);
        }
    }
}

static void a_wrong_password_reads_the_same_in_every_encoding(void **state)
{
    (void)state;
    static const char *const wrong[] = {"", "x", "p\xc3\xa4", PASSWORD " ",
                                        "p\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x81 <&>]]\"'"};
    for (size_t i = 0; i < ARRAY_LEN(encodings); i++) {
        char command[512];
        snprintf(command, sizeof command,
                 "openssl pkcs12 -export %s -inkey ec.key -in ec.pem -passout file:password "
                 "-out any.pfx",
                 encodings[i].options);
        shell(command);
        for (size_t j = 0; j < ARRAY_LEN(wrong); j++)
            must_fail("any.pfx", wrong[j], FAIL_CRYPTO, "the password does not open the PFX");
    }
}

static void takes_the_facts_of_the_certificate_that_belongs_to_the_key(void **state)
{
    (void)state;
    char line[128], end[CLOCK_TEXT];
    struct pfx_facts facts;
    int64_t not_after = 0;
    must_open("rsa.pfx", PASSWORD, &facts); /* holds the EC certificate as well */
    ask_shell("openssl x509 -in rsa.pem -outform der | sha1sum | cut -c1-40", line, sizeof line);
    assert_string_equal(facts.thumbprint, line);
    assert_string_equal(facts.subject, "CN=J\xc3\xb6rg,O=Example");
    ask_shell("date -u +%FT%TZ -d \"$(openssl x509 -in rsa.pem -noout -enddate | cut -d= -f2)\"",
              line, sizeof line);
    assert_true(clock_parse(line, &not_after));
    assert_int_equal(facts.not_after_ms, not_after);
    assert_int_equal(facts.not_after_ms - facts.not_before_ms, 30LL * 86400 * 1000);
    must_open("ec.pfx", PASSWORD, &facts);
    ask_shell("openssl x509 -in ec.pem -outform der | sha1sum | cut -c1-40", line, sizeof line);
    assert_string_equal(facts.thumbprint, line);
    clock_format(facts.not_after_ms, end);
    assert_int_equal(strlen(end), 24);
}

static void opens_an_empty_password(void **state)
{
    (void)state;
    struct pfx_facts facts;
    shell("openssl pkcs12 -export -inkey ec.key -in ec.pem -passout pass: -out empty.pfx");
    must_open("empty.pfx", "", &facts);
    must_fail("empty.pfx", "x", FAIL_CRYPTO, "the password does not open the PFX");
    shell("openssl pkcs12 -export -legacy -inkey ec.key -in ec.pem -passout pass: -out empty.pfx");
    must_open("empty.pfx", "", &facts);
}

static EVP_PKEY *load_key(const char *name)
{
    struct buf text = BUF_INIT(PFX_MAX);
    load(name, &text);
    BIO *bio = BIO_new_mem_buf(buf_text(&text), (int)text.len);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    assert_non_null(key);
    BIO_free(bio);
    buf_free(&text);
    return key;
}

static X509 *load_certificate(const char *name)
{
    struct buf text = BUF_INIT(PFX_MAX);
    load(name, &text);
    BIO *bio = BIO_new_mem_buf(buf_text(&text), (int)text.len);
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    assert_non_null(certificate);
    BIO_free(bio);
    buf_free(&text);
    return certificate;
}

static void save(PKCS12 *pfx, const char *name)
{
    unsigned char *der = NULL;
    char path[128];
    struct error err = ERROR_INIT;
    assert_non_null(pfx);
    int len = i2d_PKCS12(pfx, &der);
    assert_true(len > 0);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_true(file_write(path, 0600, FILE_REPLACE, (struct bytes){der, (size_t)len}, &err));
    OPENSSL_free(der);
    PKCS12_free(pfx);
}

/* Some programs derive keys from no password at all instead of from an empty one. */
static void opens_no_password_as_an_empty_one(void **state)
{
    (void)state;
    struct pfx_facts facts;
    EVP_PKEY *key = load_key("ec.key");
    X509 *certificate = load_certificate("ec.pem");
    save(PKCS12_create(NULL, NULL, key, certificate, NULL, NID_pbe_WithSHA1And3_Key_TripleDES_CBC,
                       NID_pbe_WithSHA1And3_Key_TripleDES_CBC, 0, 0, 0),
         "none.pfx");
    must_open("none.pfx", "", &facts);
    must_fail("none.pfx", "x", FAIL_CRYPTO, "the password does not open the PFX");
    EVP_PKEY_free(key);
    X509_free(certificate);
}

static void says_what_is_missing(void **state)
{
    (void)state;
    STACK_OF(PKCS12_SAFEBAG) *bags = NULL;
    STACK_OF(PKCS7) *safes = NULL;
    shell("openssl pkcs12 -export -nokeys -in rsa.pem -passout file:password -out any.pfx");
    must_fail("any.pfx", PASSWORD, FAIL_INPUT, "no private key");
    shell("openssl pkcs12 -export -nocerts -inkey rsa.key -passout file:password -out any.pfx");
    must_fail("any.pfx", PASSWORD, FAIL_INPUT, "no certificate at all");
    EVP_PKEY *key = load_key("rsa.key");
    X509 *certificate = load_certificate("ec.pem");
    assert_non_null(PKCS12_add_cert(&bags, certificate));
    assert_non_null(PKCS12_add_key(&bags, key, 0, 2048, -1, PASSWORD));
    assert_int_equal(PKCS12_add_safe(&safes, bags, -1, 0, NULL), 1);
    PKCS12 *pfx = PKCS12_add_safes(safes, 0);
    assert_int_equal(PKCS12_set_mac(pfx, PASSWORD, -1, NULL, 0, 2048, EVP_sha256()), 1);
    save(pfx, "any.pfx");
    must_fail("any.pfx", PASSWORD, FAIL_INPUT, "no certificate that belongs to its private key");
    sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
    sk_PKCS7_pop_free(safes, PKCS7_free);
    EVP_PKEY_free(key);
    X509_free(certificate);
}

static void says_what_a_file_looks_like_instead(void **state)
{
    (void)state;
    static const struct {
        const char *command, *words;
    } cases[] = {
        {"cp rsa.pem any.pfx", "PEM text (BEGIN CERTIFICATE)"},
        {"cp rsa.key any.pfx", "PEM text (BEGIN PRIVATE KEY)"},
        {"openssl pkcs12 -in rsa.pfx -passin file:password -nodes -out any.pfx", "PEM text"},
        {"openssl x509 -in rsa.pem -outform der -out any.pfx", "a certificate without a key"},
        {"openssl pkey -in rsa.key -outform der -out any.pfx", "a private key (DER)"},
        {"openssl crl2pkcs7 -nocrl -certfile rsa.pem -outform der -out any.pfx", "PKCS#7"},
        {"base64 rsa.pfx >any.pfx", "base64 text"},
        {"head -c 700 rsa.pfx >any.pfx", "cut short"},
        {": >any.pfx", "it is empty"},
        {"echo 'not a PFX, really' >any.pfx", "no ASN.1"},
        {"printf '\\376\\355\\376\\355\\000\\000\\000\\002' >any.pfx", "Java key store"},
        {"{ cat rsa.pfx; echo; } >any.pfx", "followed by 1 bytes"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        shell(cases[i].command);
        must_fail("any.pfx", PASSWORD, FAIL_INPUT, cases[i].words);
    }
}

static void refuses_passwords_that_are_no_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {{"p\xe4ss", 4}, {"\xed\xa0\xbd\xed\xb8\x80", 6}, {"a\0b", 3}, {"\xc0\x80", 2}};
    struct buf pfx = BUF_INIT(PFX_MAX);
    load("ec.pfx", &pfx);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct error err = ERROR_INIT;
        struct pfx_facts facts;
        assert_false(open_bytes(buf_bytes(&pfx), bad[i].bytes, bad[i].len, &facts, &err));
        assert_int_equal(err.kind, FAIL_INPUT);
        assert_non_null(strstr(err.text, "UTF-8"));
    }
    buf_free(&pfx);
}

static void every_cut_is_an_error(void **state)
{
    (void)state;
    struct buf pfx = BUF_INIT(PFX_MAX);
    load("ec.pfx", &pfx);
    for (size_t len = 0; len < pfx.len; len++) {
        struct error err = ERROR_INIT;
        struct pfx_facts facts;
        /* A copy of just these bytes, so that the sanitizer sees a read beyond them. */
        uint8_t *copy = malloc(len + (len == 0));
        assert_non_null(copy);
        memcpy(copy, pfx.data, len);
        assert_false(open_bytes((struct bytes){copy, len}, "x", 1, &facts, &err));
        assert_int_equal(err.kind, FAIL_INPUT);
        free(copy);
    }
    buf_free(&pfx);
}

/* What still opens after a flipped bit is the same certificate; nothing crashes or hangs. */
static void a_flipped_bit_never_opens_something_else(void **state)
{
    (void)state;
    struct buf pfx = BUF_INIT(PFX_MAX);
    struct pfx_facts whole;
    shell("openssl pkcs12 -export -noiter -nomaciter -inkey ec.key -in ec.pem -passout "
          "file:password -out any.pfx");
    load("any.pfx", &pfx);
    must_open("any.pfx", PASSWORD, &whole);
    for (size_t i = 0; i < pfx.len * 8; i += 3) {
        struct error err = ERROR_INIT;
        struct pfx_facts facts;
        uint8_t mask = (uint8_t)(1u << (i % 8));
        pfx.data[i / 8] ^= mask;
        if (open_bytes(buf_bytes(&pfx), PASSWORD, sizeof PASSWORD - 1, &facts, &err))
            assert_string_equal(facts.thumbprint, whole.thumbprint);
        else
            assert_true(err.text[0] != '\0');
        pfx.data[i / 8] ^= mask;
    }
    buf_free(&pfx);
}

static void refuses_endless_key_derivations(void **state)
{
    (void)state;
    static const uint8_t rounds[] = {0x02, 0x03, 0x01, 0x86, 0xa0}; /* INTEGER 100000 */
    struct buf pfx = BUF_INIT(PFX_MAX);
    size_t found = 0;
    static const char *const options[] = {"", "-nomac"};
    for (size_t k = 0; k < ARRAY_LEN(options); k++) {
        char command[256];
        snprintf(command, sizeof command,
                 "openssl pkcs12 -export %s -iter 100000 -inkey ec.key -in ec.pem -passout "
                 "file:password -out any.pfx",
                 options[k]);
        shell(command);
        load("any.pfx", &pfx);
        for (size_t i = 0; i + sizeof rounds <= pfx.len; i++) {
            if (memcmp(pfx.data + i, rounds, sizeof rounds) != 0)
                continue;
            memcpy(pfx.data + i + 2, "\x7f\xff\xff", 3);
            found++;
        }
        struct error err = ERROR_INIT;
        struct pfx_facts facts;
        int64_t begin = clock_monotonic_ms();
        assert_false(open_bytes(buf_bytes(&pfx), "x", 1, &facts, &err));
        assert_int_equal(err.kind, FAIL_TOO_LARGE);
        assert_true(clock_monotonic_ms() - begin < 1000);
    }
    assert_true(found >= 2);
    buf_free(&pfx);
}

static void an_old_file_leaves_the_default_providers_alone(void **state)
{
    (void)state;
    struct pfx_facts facts;
    shell("openssl pkcs12 -export -legacy -inkey ec.key -in ec.pem -passout file:password "
          "-out any.pfx");
    must_open("any.pfx", PASSWORD, &facts);
    assert_true(facts.legacy);
    assert_null(EVP_CIPHER_fetch(NULL, "RC2-40-CBC", NULL));
    ERR_clear_error();
    EVP_CIPHER *aes = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    assert_non_null(aes);
    EVP_CIPHER_free(aes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_rsa_and_ec_keys_in_every_encoding),
        cmocka_unit_test(a_wrong_password_reads_the_same_in_every_encoding),
        cmocka_unit_test(takes_the_facts_of_the_certificate_that_belongs_to_the_key),
        cmocka_unit_test(opens_an_empty_password),
        cmocka_unit_test(opens_no_password_as_an_empty_one),
        cmocka_unit_test(says_what_is_missing),
        cmocka_unit_test(says_what_a_file_looks_like_instead),
        cmocka_unit_test(refuses_passwords_that_are_no_utf8),
        cmocka_unit_test(every_cut_is_an_error),
        cmocka_unit_test(a_flipped_bit_never_opens_something_else),
        cmocka_unit_test(refuses_endless_key_derivations),
        cmocka_unit_test(an_old_file_leaves_the_default_providers_alone),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}

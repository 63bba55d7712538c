/* SPDX-License-Identifier: Apache-2.0 */
/* What a device gets in each format, and that it comes apart again into what went in. That other
 * programs read it is in tests/e2e/test_formats.py. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "tests/unit/check.h"
#include "reseal/helper_message.h"
#include "reseal/payload.h"
#include "reseal/result.h"
#include "reseal/settings.h"
#include "reseal/xml_text.h"
#include "src/cli/payload_read.h"

static const char cms[] = "0\3\2\1\7 as good as any CMS";
static const char pfx[] = "0\4\2\1\7 and as good as any PFX";

struct scene {
    struct config *config;
    struct payload_options options;
    struct request request;
    struct buf prefix, suffix, payload;
};

static struct bytes bytes_of(const char *text)
{
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

static int prepare(void **state)
{
    static struct scene scene;
    struct error err = ERROR_INIT;
    if (!secret_heap_open(262144, &err))
        return -1;
    scene = (struct scene){
        .prefix = BUF_INIT(HELPER_AFFIX_MAX),
        .suffix = BUF_INIT(HELPER_AFFIX_MAX),
        .payload = BUF_INIT(RESULT_PAYLOAD_MAX),
    };
    request_init(&scene.request);
    memcpy(scene.request.thumbprint, "00AaBbCcDdEeFf112233445566778899aAbBcCdD", RECORD_THUMBPRINT);
    snprintf(scene.request.user_principal_name, sizeof scene.request.user_principal_name,
             "o'hara&<son>@example.org");
    buf_put(&scene.request.pfx, pfx, sizeof pfx);
    *state = &scene;
    return 0;
}

static int tidy(void **state)
{
    struct scene *scene = *state;
    config_free(&scene->config);
    request_free(&scene->request);
    buf_free(&scene->prefix);
    buf_free(&scene->suffix);
    buf_free(&scene->payload);
    return 0;
}

static bool configure(struct scene *scene, const char *text, struct error *err)
{
    *err = (struct error)ERROR_INIT;
    config_free(&scene->config);
    assert_ok(config_parse("/etc/reseal/reseal.conf", bytes_of(text), reseal_settings,
                           &scene->config, err),
              err);
    return payload_options_read(scene->config, &scene->options, err);
}

static void make(struct scene *scene, enum format format, const char *settings)
{
    struct error err;
    scene->request.format = format;
    buf_reset(&scene->prefix);
    buf_reset(&scene->suffix);
    buf_reset(&scene->payload);
    assert_ok(configure(scene, settings, &err), &err);
    assert_ok(payload_check(&scene->options, &scene->request, &err), &err);
    assert_ok(payload_around_password(&scene->options, &scene->request, &scene->prefix,
                                      &scene->suffix, &err),
              &err);
    assert_ok(payload_write(&scene->options, &scene->request,
                            (struct bytes){(const uint8_t *)cms, sizeof cms}, &scene->payload,
                            &err),
              &err);
}

static void assert_has(const struct buf *text, const char *part)
{
    if (strstr(buf_text(text), part) == NULL)
        fail_msg("\"%s\" is not in:\n%s", part, buf_text(text));
}

static void assert_lacks(const struct buf *text, const char *part)
{
    if (strstr(buf_text(text), part) != NULL)
        fail_msg("\"%s\" is in:\n%s", part, buf_text(text));
}

/* Takes the payload apart; then the content that a token would have made, with this password. */
static void open_again(struct scene *scene, const char *password)
{
    struct buf der = BUF_INIT(1024), found = BUF_INIT(1024), content = BUF_INIT(4096);
    struct secret *opened = NULL;
    struct error err = ERROR_INIT;
    enum format format = scene->request.format;
    if (format != FORMAT_CMS)
        assert_int_equal(payload_guess_format(buf_bytes(&scene->payload)), format);
    assert_ok(payload_take_apart(format, buf_bytes(&scene->payload), &der, &found, &err), &err);
    assert_int_equal(der.len, sizeof cms);
    assert_memory_equal(der.data, cms, sizeof cms);
    buf_put(&content, scene->prefix.data, scene->prefix.len);
    buf_put_text(&content, password);
    buf_put(&content, scene->suffix.data, scene->suffix.len);
    assert_ok(secret_copy(content.data, content.len, &opened, &err), &err);
    assert_ok(payload_take_password(format, &opened, &found, &err), &err);
    assert_int_equal(secret_len(opened), strlen(password));
    assert_memory_equal(secret_data(opened), password, strlen(password));
    if (format != FORMAT_CMS) {
        assert_int_equal(found.len, sizeof pfx);
        assert_memory_equal(found.data, pfx, sizeof pfx);
    }
    secret_free(&opened);
    buf_free(&der);
    buf_free(&found);
    buf_free(&content);
}

static void every_format_opens_again(void **state)
{
    struct scene *scene = *state;
    static const char *const passwords[] = {
        "",
        " ",
        "plain",
        "<&>]]\"'",
        "]]]] >",
        "&lt;&amp;",
        "Gr\u00fc\u00dfe, \u4e16\u754c \U0001f511",
        "line\nand\ttab ",
    };
    for (int format = FORMAT_CMS; format < FORMAT_COUNT; format++) {
        make(scene, (enum format)format, "");
        for (size_t i = 0; i < ARRAY_LEN(passwords); i++) {
            assert_null(cdata_trouble(bytes_of(passwords[i])));
            open_again(scene, passwords[i]);
        }
    }
}

/* -- what stays in memory -- */

#define CANARY_LEN 24
#define REGION_MAX (256UL << 20) /* larger ones are the sanitizer's own */

/* Found without being in memory itself: kept with all bits turned over. */
static size_t find_canary(const uint8_t turned[static CANARY_LEN])
{
    FILE *maps = fopen("/proc/self/maps", "r");
    int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    char line[512], rights[8];
    unsigned long from, to;
    size_t found = 0;
    assert_non_null(maps);
    assert_true(memory >= 0);
    while (fgets(line, sizeof line, maps) != NULL) {
        static uint8_t page[4096 + CANARY_LEN];
        if (sscanf(line, "%lx-%lx %7s", &from, &to, rights) != 3 || rights[1] != 'w' ||
            to - from > REGION_MAX)
            continue;
        for (unsigned long at = from; at < to; at += 4096) {
            ssize_t len = pread(memory, page, sizeof page, (off_t)at);
            for (ssize_t i = 0; i + CANARY_LEN <= len; i++) {
                size_t same = 0;
                while (same < CANARY_LEN && (page[i + (ssize_t)same] ^ turned[same]) == 0xff)
                    same++;
                bool own = at + (unsigned long)i >= (unsigned long)page &&
                           at + (unsigned long)i < (unsigned long)page + sizeof page;
                found += same == CANARY_LEN && !own;
            }
        }
        memory_wipe(page, sizeof page);
    }
    close(memory);
    fclose(maps);
    return found;
}

static void nothing_of_the_password_stays_in_memory(void **state)
{
    struct scene *scene = *state;
    struct buf content = BUF_INIT(4096), found = BUF_INIT(1024);
    struct secret *opened = NULL;
    struct error err = ERROR_INIT;
    uint8_t turned[CANARY_LEN];
    make(scene, FORMAT_APPLE_PROFILE, "");
    buf_put(&content, scene->prefix.data, scene->prefix.len);
    srand((unsigned)getpid());
    for (size_t i = 0; i < CANARY_LEN; i++) {
        turned[i] = (uint8_t) ~('a' + rand() % 26);
        buf_put_u8(&content, (uint8_t)~turned[i]);
    }
    buf_put(&content, scene->suffix.data, scene->suffix.len);
    assert_ok(secret_copy(content.data, content.len, &opened, &err), &err);
    buf_free(&content);
    assert_ok(payload_take_password(FORMAT_APPLE_PROFILE, &opened, &found, &err), &err);
    assert_int_equal(find_canary(turned), 1); /* that is `opened` */
    secret_free(&opened);
    assert_int_equal(find_canary(turned), 0);
    buf_free(&found);
}

static void only_a_profile_has_text_around_the_password(void **state)
{
    struct scene *scene = *state;
    make(scene, FORMAT_CMS, "");
    assert_int_equal(scene->prefix.len + scene->suffix.len, 0);
    make(scene, FORMAT_WINDOWS_CSP, "");
    assert_int_equal(scene->prefix.len + scene->suffix.len, 0);
    make(scene, FORMAT_APPLE_PROFILE, "");
    assert_true(scene->prefix.len > 0 && scene->suffix.len > 0);
}

/* -- Apple -- */

static void a_profile_is_named_by_user_thumbprint_and_settings(void **state)
{
    struct scene *scene = *state;
    make(scene, FORMAT_APPLE_PROFILE,
         "[apple]\nidentifier = com.example.pfx\norganization = Smith & Sons\n");
    assert_has(&scene->payload, "<key>PayloadIdentifier</key><string>com.example.pfx."
                                "00aabbccddeeff112233445566778899aabbccdd</string>");
    assert_has(&scene->payload, "Smith &amp; Sons");
    assert_has(&scene->payload, "Certificate of o'hara&amp;&lt;son&gt;@example.org");
    assert_lacks(&scene->payload, "com.apple.security.pkcs12"); /* that is inside */
    assert_has(&scene->prefix, "<string>com.apple.security.pkcs12</string>");
    assert_has(&scene->prefix, "00aabbccddeeff112233445566778899aabbccdd.pkcs12</string>");
}

static void a_certificate_has_the_same_profile_each_time(void **state)
{
    struct scene *scene = *state;
    struct buf first = BUF_INIT(RESULT_PAYLOAD_MAX), inside = BUF_INIT(HELPER_AFFIX_MAX);
    make(scene, FORMAT_APPLE_PROFILE, "");
    buf_put(&first, scene->payload.data, scene->payload.len);
    buf_put(&inside, scene->prefix.data, scene->prefix.len);
    memcpy(scene->request.thumbprint, "00aabbccddeeff112233445566778899aabbccdd",
           RECORD_THUMBPRINT); /* in the other case */
    make(scene, FORMAT_APPLE_PROFILE, "");
    assert_string_equal(buf_text(&scene->payload), buf_text(&first));
    assert_string_equal(buf_text(&scene->prefix), buf_text(&inside));
    scene->request.thumbprint[0] = '1';
    make(scene, FORMAT_APPLE_PROFILE, "");
    assert_string_not_equal(buf_text(&scene->payload), buf_text(&first));
    buf_free(&first);
    buf_free(&inside);
}

/* Apple's default for a key that is not told is that it may be exported. */
static void a_key_is_not_exported_unless_the_settings_say_so(void **state)
{
    struct scene *scene = *state;
    static const enum platform others[] = {PLATFORM_MACOS, PLATFORM_OTHER, PLATFORM_WINDOWS};
    scene->request.platform = PLATFORM_IOS; /* which knows no such keys */
    make(scene, FORMAT_APPLE_PROFILE, "[apple]\nextractable = yes\n");
    assert_lacks(&scene->prefix, "KeyIsExtractable");
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        scene->request.platform = others[i];
        make(scene, FORMAT_APPLE_PROFILE, "");
        assert_has(&scene->prefix, "<key>KeyIsExtractable</key><false/>");
        assert_has(&scene->prefix, "<key>AllowAllAppsAccess</key><false/>");
        make(scene, FORMAT_APPLE_PROFILE, "[apple]\nextractable = yes\nall_apps = yes\n");
        assert_has(&scene->prefix, "<key>KeyIsExtractable</key><true/>");
        assert_has(&scene->prefix, "<key>AllowAllAppsAccess</key><true/>");
    }
}

static void a_password_that_a_profile_cannot_carry_is_known(void **state)
{
    static const char *const bad[] = {"a]]>b",        "]]>",  "bell\a",
                                      "two\r\nlines", "\xff", "\xef\xbf\xbf"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_non_null(cdata_trouble(bytes_of(bad[i])));
    assert_non_null(cdata_trouble((struct bytes){(const uint8_t *)"a\0b", 3}));
    assert_null(cdata_trouble((struct bytes){NULL, 0}));
}

static void fill(char *text, size_t size)
{
    memset(text, '&', size - 1); /* five bytes each, in XML */
    text[size - 1] = '\0';
}

/* A bound that can be told beforehand holds with the longest names, too. */
static void a_pfx_up_to_the_bound_always_fits_and_a_larger_one_is_refused(void **state)
{
    struct scene *scene = *state;
    struct error err = ERROR_INIT;
    char name[129], settings[600];
    fill(name, sizeof name);
    snprintf(settings, sizeof settings, "[apple]\nidentifier = %s\norganization = %s\n", name,
             name);
    fill(scene->request.user_principal_name, sizeof scene->request.user_principal_name);
    buf_reset(&scene->request.pfx);
    assert_non_null(buf_extend(&scene->request.pfx, PAYLOAD_PFX_MAX));
    make(scene, FORMAT_APPLE_PROFILE, settings);
    assert_true(scene->prefix.len + scene->suffix.len <= HELPER_AFFIX_MAX);
    buf_put_u8(&scene->request.pfx, 0);
    assert_refused(payload_check(&scene->options, &scene->request, &err), &err, FAIL_TOO_LARGE);
    assert_non_null(strstr(err.text, "46081 bytes"));
    assert_true(err.hint[0] != '\0');
}

/* Whoever can choose the text and sees the length of the CMS learns the password's to 16 bytes. */
static void the_text_around_the_password_fills_whole_blocks(void **state)
{
    struct scene *scene = *state;
    for (size_t len = 1; len < 40; len++) {
        memset(scene->request.user_principal_name, 'u', len);
        scene->request.user_principal_name[len] = '\0';
        make(scene, FORMAT_APPLE_PROFILE, "");
        assert_int_equal((scene->prefix.len + scene->suffix.len) % 16, 0);
        open_again(scene, "password");
    }
}

/* -- Windows -- */

static void windows_gets_the_node_of_the_thumbprint_and_the_blob_last(void **state)
{
    struct scene *scene = *state;
    make(scene, FORMAT_WINDOWS_CSP, "");
    assert_has(&scene->payload,
               "<LocURI>./User/Vendor/MSFT/ClientCertificateInstall/PFXCertInstall/"
               "00AABBCCDDEEFF112233445566778899AABBCCDD/KeyLocation</LocURI>");
    assert_has(&scene->payload, "int</Format></Meta><Data>2</Data>");
    assert_has(&scene->payload, "bool</Format></Meta><Data>false</Data>");
    assert_lacks(&scene->payload, "PFXCertPasswordEncryptionStore");
    const char *blob = strstr(buf_text(&scene->payload), "/PFXCertBlob<");
    assert_non_null(blob);
    assert_null(strstr(blob, "<Add>"));
    for (unsigned id = 1; id <= 6; id++) { /* each command its own, in order */
        char wanted[32];
        snprintf(wanted, sizeof wanted, "<CmdID>%u</CmdID>", id);
        assert_has(&scene->payload, wanted);
    }
    assert_lacks(&scene->payload, "<CmdID>7<");
}

static void windows_settings_are_the_nodes_of_the_csp(void **state)
{
    struct scene *scene = *state;
    make(scene, FORMAT_WINDOWS_CSP,
         "[windows]\nscope = device\nkey_location = software\nexportable = yes\n"
         "device_store = My & Co\n");
    assert_has(&scene->payload, "./Device/Vendor/MSFT/");
    assert_has(&scene->payload, "int</Format></Meta><Data>3</Data>");
    assert_has(&scene->payload, "bool</Format></Meta><Data>true</Data>");
    assert_has(&scene->payload,
               "PFXCertPasswordEncryptionType</LocURI></Target><Meta>"
               "<Format xmlns=\"syncml:metinf\">int</Format></Meta><Data>2</Data>");
    assert_has(&scene->payload, "chr</Format></Meta><Data>My &amp; Co</Data>");
}

static void settings_that_contradict_each_other_are_refused(void **state)
{
    struct scene *scene = *state;
    struct error err;
    assert_false(configure(scene, "[windows]\nexportable = yes\n", &err));
    assert_int_equal(err.kind, FAIL_USAGE);
    assert_non_null(strstr(err.hint, "key_location = software"));
    assert_false(configure(scene, "[apple]\norganization = a\x01z\n", &err));
    assert_int_equal(err.kind, FAIL_USAGE);
    assert_non_null(strstr(err.text, "[apple] organization"));
}

static void a_format_that_the_settings_leave_out_is_not_made(void **state)
{
    struct scene *scene = *state;
    struct error err;
    assert_ok(configure(scene, "[connector]\nformats = cms, windows-csp\n", &err), &err);
    for (int format = FORMAT_CMS; format < FORMAT_COUNT; format++) {
        scene->request.format = (enum format)format;
        bool made = payload_check(&scene->options, &scene->request, &err);
        assert_int_equal(made, format != FORMAT_APPLE_PROFILE);
        if (!made)
            assert_int_equal(err.kind, FAIL_UNSUPPORTED);
    }
}

/* -- what is not of the format -- */

static void a_format_without_its_pfx_or_with_a_name_beyond_xml_is_refused(void **state)
{
    struct scene *scene = *state;
    struct error err = ERROR_INIT;
    assert_ok(configure(scene, "", &err), &err);
    for (int format = FORMAT_WINDOWS_CSP; format < FORMAT_COUNT; format++) {
        scene->request.format = (enum format)format;
        buf_reset(&scene->request.pfx);
        assert_refused(payload_check(&scene->options, &scene->request, &err), &err, FAIL_INPUT);
        buf_put(&scene->request.pfx, pfx, sizeof pfx);
        assert_ok(payload_check(&scene->options, &scene->request, &err), &err);
    }
    snprintf(scene->request.user_principal_name, sizeof scene->request.user_principal_name,
             "a\xef\xbf\xbf@example.org");
    scene->request.format = FORMAT_APPLE_PROFILE;
    assert_refused(payload_check(&scene->options, &scene->request, &err), &err, FAIL_INPUT);
    scene->request.format = FORMAT_WINDOWS_CSP; /* does not have it in it */
    assert_ok(payload_check(&scene->options, &scene->request, &err), &err);
    scene->request.format = FORMAT_CMS;
    buf_reset(&scene->request.pfx);
    assert_ok(payload_check(&scene->options, &scene->request, &err), &err);
}

static void a_payload_without_a_name_is_known_by_its_beginning(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum format format;
    } cases[] = {
        {"0\x82", FORMAT_CMS},
        {"", FORMAT_CMS},
        {"<?xml version=\"1.0\"?>", FORMAT_APPLE_PROFILE},
        {"\xef\xbb\xbf<?xml version=\"1.0\"?>", FORMAT_APPLE_PROFILE},
        {"\n <plist>", FORMAT_APPLE_PROFILE},
        {"<Atomic>", FORMAT_WINDOWS_CSP},
        {"\r\n<Atomic>", FORMAT_WINDOWS_CSP},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(payload_guess_format(bytes_of(cases[i].text)), cases[i].format);
}

static void what_is_no_such_payload_is_refused(void **state)
{
    static const struct {
        enum format format;
        const char *text;
    } cases[] = {
        {FORMAT_APPLE_PROFILE, ""},
        {FORMAT_APPLE_PROFILE, "<plist><dict/></plist>"},
        {FORMAT_APPLE_PROFILE,
         "<plist><dict><key>EncryptedPayloadContent</key><data>?</data></dict></plist>"},
        {FORMAT_APPLE_PROFILE,
         "<plist><dict><key>EncryptedPayloadContent</key><string>MAMC</string></dict></plist>"},
        {FORMAT_APPLE_PROFILE,
         "<plist><dict><key>x/EncryptedPayloadContent</key><data>MAMC</data></dict></plist>"},
        {FORMAT_APPLE_PROFILE,
         "<plist><dict><key>EncryptedPayloadContent</key><data>MAMC</data>"
         "<key>EncryptedPayloadContent</key><data>MAMC</data></dict></plist>"},
        {FORMAT_WINDOWS_CSP, "<Atomic/>"},
        {FORMAT_WINDOWS_CSP,
         "<Atomic><Add><Item><Target><LocURI>x/PFXCertPassword</LocURI></Target>"
         "<Data>MAMC</Data></Item></Add></Atomic>"},
    };
    struct error err = ERROR_INIT;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf der = BUF_INIT(1024), found = BUF_INIT(1024);
        assert_refused(
            payload_take_apart(cases[i].format, bytes_of(cases[i].text), &der, &found, &err), &err,
            FAIL_INPUT);
        buf_free(&der);
        buf_free(&found);
    }
}

#define payload_test(f) cmocka_unit_test_setup_teardown(f, prepare, tidy)

int main(void)
{
    const struct CMUnitTest tests[] = {
        payload_test(every_format_opens_again),
        payload_test(nothing_of_the_password_stays_in_memory),
        payload_test(only_a_profile_has_text_around_the_password),
        payload_test(a_profile_is_named_by_user_thumbprint_and_settings),
        payload_test(a_certificate_has_the_same_profile_each_time),
        payload_test(a_key_is_not_exported_unless_the_settings_say_so),
        payload_test(a_password_that_a_profile_cannot_carry_is_known),
        payload_test(a_pfx_up_to_the_bound_always_fits_and_a_larger_one_is_refused),
        payload_test(the_text_around_the_password_fills_whole_blocks),
        payload_test(windows_gets_the_node_of_the_thumbprint_and_the_blob_last),
        payload_test(windows_settings_are_the_nodes_of_the_csp),
        payload_test(settings_that_contradict_each_other_are_refused),
        payload_test(a_format_that_the_settings_leave_out_is_not_made),
        payload_test(a_format_without_its_pfx_or_with_a_name_beyond_xml_is_refused),
        payload_test(a_payload_without_a_name_is_known_by_its_beginning),
        payload_test(what_is_no_such_payload_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

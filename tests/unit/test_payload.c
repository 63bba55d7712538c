/* SPDX-License-Identifier: Apache-2.0 */
/* What a device gets in each format, and that it comes apart again into what went in. That other
 * programs read it is in tests/e2e/test_formats.py. */
#include "tests/unit/check.h"
#include "reseal/helper_message.h"
#include "reseal/payload.h"
#include "reseal/result.h"
#include "reseal/settings.h"
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
    assert_ok(payload_check(&scene->request, &err), &err);
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
    for (int format = FORMAT_CMS; format <= FORMAT_APPLE_PROFILE; format++) {
        make(scene, (enum format)format, "");
        for (size_t i = 0; i < ARRAY_LEN(passwords); i++) {
            assert_null(password_trouble_in_xml(bytes_of(passwords[i])));
            open_again(scene, passwords[i]);
        }
    }
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
    struct buf first = BUF_INIT(RESULT_PAYLOAD_MAX);
    make(scene, FORMAT_APPLE_PROFILE, "");
    buf_put(&first, scene->payload.data, scene->payload.len);
    memcpy(scene->request.thumbprint, "00aabbccddeeff112233445566778899aabbccdd",
           RECORD_THUMBPRINT); /* in the other case */
    make(scene, FORMAT_APPLE_PROFILE, "");
    assert_string_equal(buf_text(&scene->payload), buf_text(&first));
    scene->request.thumbprint[0] = '1';
    make(scene, FORMAT_APPLE_PROFILE, "");
    assert_string_not_equal(buf_text(&scene->payload), buf_text(&first));
    buf_free(&first);
}

static void what_only_macos_knows_is_said_to_macos_alone(void **state)
{
    struct scene *scene = *state;
    scene->request.platform = PLATFORM_IOS;
    make(scene, FORMAT_APPLE_PROFILE, "[apple]\nextractable = yes\n");
    assert_lacks(&scene->prefix, "KeyIsExtractable");
    scene->request.platform = PLATFORM_MACOS;
    make(scene, FORMAT_APPLE_PROFILE, "");
    assert_has(&scene->prefix, "<key>KeyIsExtractable</key><false/>");
    assert_has(&scene->prefix, "<key>AllowAllAppsAccess</key><false/>");
    make(scene, FORMAT_APPLE_PROFILE, "[apple]\nextractable = yes\nall_apps = yes\n");
    assert_has(&scene->prefix, "<key>KeyIsExtractable</key><true/>");
    assert_has(&scene->prefix, "<key>AllowAllAppsAccess</key><true/>");
}

static void a_password_that_a_profile_cannot_carry_is_known(void **state)
{
    static const char *const bad[] = {"a]]>b",        "]]>",  "bell\a",
                                      "two\r\nlines", "\xff", "\xef\xbf\xbf"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_non_null(password_trouble_in_xml(bytes_of(bad[i])));
    assert_non_null(password_trouble_in_xml((struct bytes){(const uint8_t *)"a\0b", 3}));
    assert_null(password_trouble_in_xml((struct bytes){NULL, 0}));
}

static void a_pfx_that_does_not_fit_around_the_password_is_too_large(void **state)
{
    struct scene *scene = *state;
    struct error err;
    assert_ok(configure(scene, "", &err), &err);
    scene->request.format = FORMAT_APPLE_PROFILE;
    for (size_t more = 47000; more <= 50000; more += 100) {
        buf_reset(&scene->prefix);
        buf_reset(&scene->suffix);
        buf_reset(&scene->request.pfx);
        assert_non_null(buf_extend(&scene->request.pfx, more));
        bool fits = payload_around_password(&scene->options, &scene->request, &scene->prefix,
                                            &scene->suffix, &err);
        if (fits) {
            assert_true(scene->prefix.len + scene->suffix.len <= HELPER_AFFIX_MAX);
        } else {
            assert_int_equal(err.kind, FAIL_TOO_LARGE);
            assert_true(more > 48000);
            return;
        }
    }
    fail_msg("nothing was too large");
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

/* -- what is not of the format -- */

static void a_format_without_its_pfx_or_with_a_name_beyond_xml_is_refused(void **state)
{
    struct scene *scene = *state;
    struct error err = ERROR_INIT;
    for (int format = FORMAT_WINDOWS_CSP; format <= FORMAT_APPLE_PROFILE; format++) {
        scene->request.format = (enum format)format;
        buf_reset(&scene->request.pfx);
        assert_refused(payload_check(&scene->request, &err), &err, FAIL_INPUT);
        buf_put(&scene->request.pfx, pfx, sizeof pfx);
        assert_ok(payload_check(&scene->request, &err), &err);
    }
    snprintf(scene->request.user_principal_name, sizeof scene->request.user_principal_name,
             "a\xef\xbf\xbf@example.org");
    assert_refused(payload_check(&scene->request, &err), &err, FAIL_INPUT);
    scene->request.format = FORMAT_CMS;
    buf_reset(&scene->request.pfx);
    assert_ok(payload_check(&scene->request, &err), &err);
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
        payload_test(only_a_profile_has_text_around_the_password),
        payload_test(a_profile_is_named_by_user_thumbprint_and_settings),
        payload_test(a_certificate_has_the_same_profile_each_time),
        payload_test(what_only_macos_knows_is_said_to_macos_alone),
        payload_test(a_password_that_a_profile_cannot_carry_is_known),
        payload_test(a_pfx_that_does_not_fit_around_the_password_is_too_large),
        payload_test(windows_gets_the_node_of_the_thumbprint_and_the_blob_last),
        payload_test(windows_settings_are_the_nodes_of_the_csp),
        payload_test(settings_that_contradict_each_other_are_refused),
        payload_test(a_format_without_its_pfx_or_with_a_name_beyond_xml_is_refused),
        payload_test(what_is_no_such_payload_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

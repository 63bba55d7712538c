/* SPDX-License-Identifier: Apache-2.0 */
/* Which token is meant: PKCS#11 URIs and the configuration. */
#include <unistd.h>
#include "reseal/file.h"
#include "reseal/settings.h"
#include "reseal/token.h"
#include "tests/unit/check.h"

static void a_uri_names_module_and_token(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct token_address address;
    assert_ok(token_address_from_uri("pkcs11:token=My%20HSM;serial=1234;manufacturer=Maker%20GmbH;"
                                     "model=Model%20X?module-path=/usr/lib/maker/p11.so",
                                     &address, &err),
              &err);
    assert_string_equal(address.module, "/usr/lib/maker/p11.so");
    assert_string_equal(address.label, "My HSM");
    assert_string_equal(address.serial, "1234");
    assert_string_equal(address.manufacturer, "Maker GmbH");
    assert_string_equal(address.model, "Model X");
    assert_string_equal(address.init_args, "");
}

static void fields_of_full_length_are_taken_whole(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct token_address address;
    assert_ok(token_address_from_uri("pkcs11:token=01234567890123456789012345678901;"
                                     "serial=0123456789abcdef;model=fedcba9876543210",
                                     &address, &err),
              &err);
    assert_string_equal(address.label, "01234567890123456789012345678901");
    assert_string_equal(address.serial, "0123456789abcdef");
    assert_string_equal(address.model, "fedcba9876543210");
    assert_string_equal(address.module, "");
}

static void a_module_name_becomes_the_name_of_a_library(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct token_address address;
    assert_ok(token_address_from_uri("pkcs11:token=x?module-name=softhsm2", &address, &err), &err);
    assert_string_equal(address.module, "libsofthsm2.so");
    assert_refused(token_address_from_uri("pkcs11:token=x?module-name=..%2Fevil", &address, &err),
                   &err, FAIL_USAGE);
}

static void a_pin_in_a_uri_is_refused_and_not_repeated(void **state)
{
    (void)state;
    static const char *const uris[] = {
        "pkcs11:token=x?pin-value=hunter2secret",
        "pkcs11:token=x?pin-source=file:/etc/hunter2secret",
        "pkcs11:token=x?module-path=/m.so&pin-value=hunter2secret",
    };
    struct error err = ERROR_INIT;
    struct token_address address;
    for (size_t i = 0; i < ARRAY_LEN(uris); i++) {
        assert_refused(token_address_from_uri(uris[i], &address, &err), &err, FAIL_USAGE);
        assert_null(strstr(err.text, "hunter2"));
        assert_null(strstr(err.hint, "hunter2"));
    }
}

static void what_is_no_pkcs11_uri_or_not_about_a_token_is_refused(void **state)
{
    (void)state;
    static const char *const uris[] = {
        "",
        "http://example.net/",
        "pkcs12:token=x",
        "pkcs11:token=%zz",
        "pkcs11:token=x;object=key",
        "pkcs11:token=x;slot-id=3",
        "pkcs11:token=x;colour=blue",
        "pkcs11:token=012345678901234567890123456789012", /* 33 bytes */
    };
    struct error err = ERROR_INIT;
    struct token_address address;
    for (size_t i = 0; i < ARRAY_LEN(uris); i++)
        assert_refused(token_address_from_uri(uris[i], &address, &err), &err, FAIL_USAGE);
}

/* Loads a configuration with these lines in [token]. */
static bool from_config(const char *lines, struct token_address *out, struct error *err)
{
    char path[] = "/tmp/reseal-unit-XXXXXX";
    char text[1024];
    struct config *config = NULL;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    int len = snprintf(text, sizeof text, "[token]\n%s\n", lines);
    assert_true(len > 0 && (size_t)len < sizeof text);
    assert_ok(fd_write_all(fd, (struct bytes){(const uint8_t *)text, (size_t)len}, err), err);
    close(fd);
    assert_ok(settings_load(path, &config, err), err);
    bool ok = token_address_from_config(config, "token", out, err);
    config_free(&config);
    unlink(path);
    return ok;
}

static void the_configuration_names_the_token_by_fields_or_by_uri(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    struct token_address address;
    assert_ok(from_config("module = /usr/lib/p11.so\nlabel = My HSM\nserial = 42\n"
                          "init_args = configDir='sql:/x' flags=",
                          &address, &err),
              &err);
    assert_string_equal(address.module, "/usr/lib/p11.so");
    assert_string_equal(address.label, "My HSM");
    assert_string_equal(address.serial, "42");
    assert_string_equal(address.init_args, "configDir='sql:/x' flags=");
    assert_ok(from_config("uri = pkcs11:token=My%20HSM\nmodule = /usr/lib/p11.so", &address, &err),
              &err);
    assert_string_equal(address.module, "/usr/lib/p11.so");
    assert_string_equal(address.label, "My HSM");
    assert_refused(from_config("uri = pkcs11:token=a?module-path=/x.so\nlabel = b", &address, &err),
                   &err, FAIL_USAGE);
    assert_refused(from_config("label = My HSM", &address, &err), &err, FAIL_USAGE);
    assert_refused(from_config("uri = pkcs11:token=a?pin-value=1", &address, &err), &err,
                   FAIL_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_uri_names_module_and_token),
        cmocka_unit_test(fields_of_full_length_are_taken_whole),
        cmocka_unit_test(a_module_name_becomes_the_name_of_a_library),
        cmocka_unit_test(a_pin_in_a_uri_is_refused_and_not_repeated),
        cmocka_unit_test(what_is_no_pkcs11_uri_or_not_about_a_token_is_refused),
        cmocka_unit_test(the_configuration_names_the_token_by_fields_or_by_uri),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

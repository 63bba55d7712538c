/* SPDX-License-Identifier: Apache-2.0 */
/* Settings with which a hub does not start. */
#include "check.h"
#include "reseal/settings.h"
#include "src/hub/hub.h"

static void queues_of_which_two_are_the_same_are_refused(void **state)
{
    static const char *const names[][2] = {{"x", "x"}, {"x-dead", "x"}, {"x", "x-dead"}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct error err = ERROR_INIT;
        struct config *config = NULL;
        struct hub *hub = NULL;
        char text[128];
        int len = snprintf(text, sizeof text, "[hub]\nrequests = %s\nresults = %s\n", names[i][0],
                           names[i][1]);
        const struct bytes bytes = {(const uint8_t *)text, (size_t)len};
        assert_ok(config_parse("hub.conf", bytes, reseal_settings, &config, &err), &err);
        assert_refused(hub_open(config, &hub, &err), &err, FAIL_USAGE);
        assert_null(hub);
        assert_non_null(strstr(err.text, "hub.requests"));
        assert_non_null(strstr(err.text, "hub.results"));
        config_free(&config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queues_of_which_two_are_the_same_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

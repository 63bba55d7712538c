/* SPDX-License-Identifier: Apache-2.0 */
/* The list of tokens, through libp11. */
#include <libp11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "reseal/text.h"
#include "shared_token.h"

static void take_text(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text != NULL ? text : "");
    text_make_printable(out);
}

/* libp11 tells no firmware version: that one number comes from the function list. */
static void fill_item(const struct module *module, PKCS11_SLOT *slot, struct token_list_item *out)
{
    const PKCS11_TOKEN *token = slot->token;
    CK_TOKEN_INFO info = {0};
    CK_INFO library = {0};
    memset(out, 0, sizeof *out);
    CK_SLOT_ID id = PKCS11_get_slotid_from_slot(slot);
    if (module->functions->C_GetTokenInfo(id, &info) == CKR_OK &&
        module->functions->C_GetInfo(&library) == CKR_OK)
        token_facts_fill(&info, &library, id, &out->facts);
    out->facts.slot = id;
    take_text(out->facts.label, sizeof out->facts.label, token->label);
    take_text(out->facts.serial, sizeof out->facts.serial, token->serialnr);
    take_text(out->facts.manufacturer, sizeof out->facts.manufacturer, token->manufacturer);
    take_text(out->facts.model, sizeof out->facts.model, token->model);
    out->initialized = token->initialized != 0;
    out->login_required = token->loginRequired != 0;
    out->pin_state =
        pin_state_from_flags((token->userPinSet ? CKF_USER_PIN_INITIALIZED : 0) |
                             (token->userPinCountLow ? CKF_USER_PIN_COUNT_LOW : 0) |
                             (token->userPinFinalTry ? CKF_USER_PIN_FINAL_TRY : 0) |
                             (token->userPinLocked ? CKF_USER_PIN_LOCKED : 0) |
                             (token->userPinToBeChanged ? CKF_USER_PIN_TO_BE_CHANGED : 0));
}

bool token_list(const struct token_address *address, struct token_list_item **out, size_t *count,
                struct error *err)
{
    *out = NULL;
    *count = 0;
    bool ok = false;
    struct module *module = NULL;
    struct library library = {NULL, NULL, 0, false};
    struct token_list_item *items = NULL;
    size_t found = 0;
    if (!module_open(address->module, address->init_args, &module, err) ||
        !library_open(address, &library, err))
        goto done;
    items = calloc((size_t)library.slot_count + 1, sizeof *items);
    if (items == NULL) {
        error_memory(err);
        goto done;
    }
    for (unsigned int i = 0; i < library.slot_count; i++) {
        if (library.slots[i].token != NULL)
            fill_item(module, &library.slots[i], &items[found++]);
    }
    *out = items;
    items = NULL; /* transferred */
    *count = found;
    ok = true;
done:
    free(items);
    library_close(&library);
    module_close(&module);
    return ok;
}

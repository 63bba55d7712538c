/* SPDX-License-Identifier: Apache-2.0 */
#include "reseal/token_signer.h"

#include <p11-kit/uri.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "eddsa_signer.h"
#include "reseal/text.h"
#include "shared_token.h"

struct token_signer {
    struct shared_token shared;
    struct eddsa_signer eddsa; /* where the key is one of that kind */
    struct signing_key key;
};

/* The part about the key; the part about the token is for token_address_from_uri. */
static bool take_key(P11KitUri *uri, struct signer_address *out, struct error *err)
{
    const CK_ATTRIBUTE *label = p11_kit_uri_get_attribute(uri, CKA_LABEL);
    const CK_ATTRIBUTE *id = p11_kit_uri_get_attribute(uri, CKA_ID);
    if ((label != NULL && label->ulValueLen >= sizeof out->label) ||
        (id != NULL && 2 * id->ulValueLen >= sizeof out->id))
        return error_set(err, FAIL_USAGE, "the URI's object or id is too long");
    if (label != NULL)
        memcpy(out->label, label->pValue, label->ulValueLen);
    if (id != NULL)
        hex_encode(out->id, id->pValue, id->ulValueLen);
    if (label != NULL || id != NULL)
        return true;
    error_set(err, FAIL_USAGE, "the URI names no key");
    return error_hint(err, "add object=LABEL or id=%%01 to it");
}

/* The same URI without its key, as text: pkcs11:token=... */
static bool token_part(P11KitUri *uri, char **out, struct error *err)
{
    p11_kit_uri_clear_attributes(uri);
    if (p11_kit_uri_format(uri, P11_KIT_URI_FOR_ANY, out) == P11_KIT_URI_OK)
        return true;
    return error_set(err, FAIL_USAGE, "the URI cannot be read");
}

bool signer_address_from_uri(const char *text, struct signer_address *out, struct error *err)
{
    char *token = NULL;
    memset(out, 0, sizeof *out);
    P11KitUri *uri = p11_kit_uri_new();
    if (uri == NULL)
        return error_memory(err);
    int result = p11_kit_uri_parse(text, P11_KIT_URI_FOR_ANY, uri);
    bool ok =
        result == P11_KIT_URI_OK ||
        error_set(err, FAIL_USAGE, "not a PKCS#11 URI (RFC 7512): %s", p11_kit_uri_message(result));
    ok = ok && take_key(uri, out, err) && token_part(uri, &token, err) &&
         token_address_from_uri(token, &out->token, err);
    if (ok && out->token.module[0] == '\0') {
        ok = error_set(err, FAIL_USAGE, "the URI names no module");
        error_hint(err, "add ?module-path=/path/of/module.so to it");
    }
    free(token);
    p11_kit_uri_free(uri);
    return ok;
}

bool signer_has_pin_pad(const struct token_address *address, bool *out, struct error *err)
{
    struct token *token = NULL;
    if (!token_open(address, &token, err))
        return false;
    *out = token_has_pin_pad(token);
    token_close(&token);
    return true;
}

static bool fits(const PKCS11_KEY *key, const struct signer_address *address)
{
    char id[129];
    if (address->label[0] != '\0' &&
        (key->label == NULL || strcmp(key->label, address->label) != 0))
        return false;
    if (address->id[0] == '\0')
        return true;
    if (key->id_len * 2 >= sizeof id)
        return false;
    hex_encode(id, key->id, key->id_len);
    return strcmp(id, address->id) == 0;
}

static bool fail_listing(const char *label, struct error *err)
{
    error_openssl(err, FAIL_TOKEN, "libp11 cannot list the keys of token \"%s\"", label);
    return error_hint(err,
                      "before 0.4.13 it does not list a token that holds a key of a type it does "
                      "not know, such as Ed25519: sign by that one, or by a token without");
}

static bool pick_key(struct token_signer *signer, const struct signer_address *address,
                     struct error *err)
{
    PKCS11_KEY *keys = NULL, *picked = NULL;
    unsigned int count = 0;
    const char *label = signer->shared.token->facts.label;
    if (PKCS11_enumerate_keys(signer->shared.listed, &keys, &count) != 0)
        return fail_listing(label, err);
    for (unsigned int i = 0; i < count; i++) {
        if (!fits(&keys[i], address))
            continue;
        if (picked != NULL) {
            error_set(err, FAIL_POLICY, "more than one key of token \"%s\" fits the URI", label);
            return error_hint(err, "name it by its id as well");
        }
        picked = &keys[i];
    }
    if (picked == NULL) {
        error_set(err, FAIL_NOT_FOUND, "token \"%s\" has no private key that fits the URI", label);
        return error_hint(err, "`reseal key list --uri URI` shows its keys");
    }
    signer->key.key = PKCS11_get_private_key(picked);
    return signer->key.key != NULL ||
           error_openssl(err, FAIL_TOKEN, "libp11 gives no key of token \"%s\"", label);
}

static bool find_key(struct token_signer *signer, const struct signer_address *address,
                     struct error *err)
{
    bool eddsa = false;
    if (!eddsa_signer_open(signer->shared.session, address, &signer->eddsa, &eddsa, err))
        return false;
    if (!eddsa)
        return pick_key(signer, address, err);
    signer->key = (struct signing_key){
        .key = signer->eddsa.public_half, .sign = eddsa_signer_sign, .context = &signer->eddsa};
    return true;
}

bool token_signer_open(const struct signer_address *address, const struct secret *pin,
                       struct token_signer **out, struct error *err)
{
    *out = NULL;
    struct token_signer *signer = calloc(1, sizeof *signer);
    if (signer == NULL)
        return error_memory(err);
    if (!shared_open(&address->token, pin, pin == NULL, &signer->shared, err) ||
        !find_key(signer, address, err)) {
        token_signer_close(&signer);
        return false;
    }
    *out = signer;
    return true;
}

const struct signing_key *token_signer_key(const struct token_signer *signer)
{
    return &signer->key;
}

void token_signer_close(struct token_signer **signer)
{
    if (signer == NULL || *signer == NULL)
        return;
    if ((*signer)->key.sign == NULL)
        EVP_PKEY_free((*signer)->key.key);
    eddsa_signer_close(&(*signer)->eddsa);
    shared_close(&(*signer)->shared);
    free(*signer);
    *signer = NULL;
}

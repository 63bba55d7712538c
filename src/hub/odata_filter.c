/* SPDX-License-Identifier: Apache-2.0 */
#include "odata_filter.h"

#include <string.h>
#include "reseal/text.h"
#include "store_records.h"

struct parser {
    const char *at;
    struct error *err;
};

static bool not_understood(struct parser *parser, const char *expected)
{
    error_set(parser->err, FAIL_INPUT, "$filter: %s expected at \"%.40s\"", expected, parser->at);
    return error_hint(parser->err, "use userPrincipalName eq 'TEXT' and thumbprint eq 'TEXT', each "
                                   "of them plain or in tolower()");
}

static void skip_space(struct parser *parser)
{
    parser->at += strspn(parser->at, " ");
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* Takes the word if it stands here as a whole. */
static bool take_word(struct parser *parser, const char *word)
{
    size_t len = strlen(word);
    skip_space(parser);
    if (strncmp(parser->at, word, len) != 0 || is_name(parser->at[len]))
        return false;
    parser->at += len;
    return true;
}

static bool take_sign(struct parser *parser, char sign)
{
    skip_space(parser);
    if (*parser->at != sign)
        return false;
    parser->at++;
    return true;
}

/* A text in apostrophes, folded into `out`. */
static bool take_literal(struct parser *parser, char *out, size_t size)
{
    char text[RECORD_UPN_MAX + 1];
    size_t used = 0;
    if (!take_sign(parser, '\''))
        return not_understood(parser, "a text in apostrophes");
    while (true) {
        const char *rest = parser->at;
        if (*rest == '\0')
            return not_understood(parser, "the closing apostrophe");
        if (rest[0] == '\'' && rest[1] != '\'')
            break;
        if (used + 1 >= sizeof text)
            return error_set(parser->err, FAIL_INPUT, "$filter: a text has more than %d bytes",
                             RECORD_UPN_MAX);
        text[used++] = *rest;
        parser->at += rest[0] == '\'' ? 2 : 1;
    }
    parser->at++;
    text[used] = '\0';
    return text_fold(text, out, size) || not_understood(parser, "a shorter text");
}

static bool take_operand(struct parser *parser, bool *is_upn)
{
    bool folded = take_word(parser, "tolower");
    if (folded && !take_sign(parser, '('))
        return not_understood(parser, "(");
    *is_upn = take_word(parser, "userPrincipalName");
    if (!*is_upn && !take_word(parser, "thumbprint"))
        return not_understood(parser, "userPrincipalName or thumbprint");
    if (folded && !take_sign(parser, ')'))
        return not_understood(parser, ")");
    return true;
}

static bool take_term(struct parser *parser, struct record_filter *out)
{
    char literal[RECORD_UPN_MAX + 1];
    bool is_upn = false;
    if (!take_operand(parser, &is_upn))
        return false;
    if (!take_word(parser, "eq"))
        return not_understood(parser, "eq");
    if (!take_literal(parser, literal, sizeof literal))
        return false;
    bool *has = is_upn ? &out->has_upn : &out->has_thumbprint;
    char *place = is_upn ? out->upn : out->thumbprint;
    if (*has && strcmp(place, literal) != 0)
        out->empty = true;
    *has = true;
    memcpy(place, literal, sizeof literal);
    return true;
}

bool record_filter_parse(const char *text, struct record_filter *out, struct error *err)
{
    struct parser parser = {.at = text, .err = err};
    *out = (struct record_filter){.empty = false};
    do {
        if (!take_term(&parser, out))
            return false;
    } while (take_word(&parser, "and"));
    skip_space(&parser);
    return *parser.at == '\0' || not_understood(&parser, "and, or the end,");
}

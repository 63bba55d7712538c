/* SPDX-License-Identifier: Apache-2.0 */
/* What the fault module makes of the real module's answers. */
#include <string.h>
#include "call.h"

static void lie_about_length(const struct fault_call *call, const struct fault_rule *rule)
{
    CK_ULONG *place = call->output;
    for (CK_ULONG i = 0; i < call->row_count; i++) {
        if (call->rows[i].type == rule->attribute)
            place = &call->rows[i].ulValueLen;
    }
    if (place == NULL && call->row_count > 0)
        place = &call->rows[0].ulValueLen;
    if (place == NULL)
        return;
    *place = rule->sign == SIGN_PLUS    ? *place + rule->number
             : rule->sign == SIGN_MINUS ? *place - rule->number
                                        : rule->number;
}

static void lie_about_value(const struct fault_call *call, const struct fault_rule *rule,
                            const CK_ULONG *room)
{
    for (CK_ULONG i = 0; i < call->row_count && i < FAULTS_AT_ONCE; i++) {
        CK_ATTRIBUTE *row = &call->rows[i];
        if (row->type != rule->attribute)
            continue;
        row->ulValueLen = rule->value_len;
        if (row->pValue != NULL && room[i] >= rule->value_len)
            memcpy(row->pValue, rule->value, rule->value_len);
    }
}

/* Whatever a terminal, a log or JSON could stumble over, and no end to it. */
static void spoil(CK_UTF8CHAR *field, size_t size)
{
    static const char garbage[] = "\x1b[2J\"\xff\\\xc3\n{%s\x80\r<&>\xf5\t";
    for (size_t i = 0; i < size; i++)
        field[i] = (CK_UTF8CHAR)garbage[i % (sizeof garbage - 1)];
}

static void lie_about_field(const struct fault_call *call, enum fault_field field)
{
    CK_TOKEN_INFO_PTR token = call->token_info;
    switch (field) {
    case FIELD_LABEL:
        spoil(token->label, sizeof token->label);
        break;
    case FIELD_SERIAL:
        spoil(token->serialNumber, sizeof token->serialNumber);
        break;
    case FIELD_MANUFACTURER:
        spoil(token->manufacturerID, sizeof token->manufacturerID);
        break;
    case FIELD_MODEL:
        spoil(token->model, sizeof token->model);
        break;
    case FIELD_LIBRARY:
        spoil(call->info->libraryDescription, sizeof call->info->libraryDescription);
        break;
    }
}

void fault_call_lie(const struct fault_call *call, const CK_ULONG *room)
{
    for (size_t i = 0; i < call->rule_count; i++) {
        const struct fault_rule *rule = &call->rules[i];
        if (rule->action == ACTION_LENGTH)
            lie_about_length(call, rule);
        else if (rule->action == ACTION_VALUE)
            lie_about_value(call, rule, room);
        else if (rule->action == ACTION_GARBAGE)
            lie_about_field(call, (enum fault_field)rule->number);
        else if (rule->action == ACTION_FLAGS)
            call->token_info->flags |= rule->number;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The function list: each function asks call.c what is to become of the call. */
#include "call.h"

#define X(name, parameters, arguments, ...)                                                        \
    static CK_RV fault_##name parameters                                                           \
    {                                                                                              \
        struct fault_call call = {.function = FN_##name, __VA_ARGS__};                             \
        CK_RV rv = CKR_OK;                                                                         \
        if (fault_call_begin(&call, &rv))                                                          \
            rv = fault_real->name arguments;                                                       \
        return fault_call_end(&call, rv);                                                          \
    }
#include "functions.h"
#undef X

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR list);

static CK_FUNCTION_LIST functions = {
    .version = {2, 40},
    .C_GetFunctionList = C_GetFunctionList,
#define X(name, parameters, arguments, ...) .name = fault_##name,
#include "functions.h"
#undef X
};

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR list)
{
    if (list == NULL)
        return CKR_ARGUMENTS_BAD;
    *list = &functions;
    return CKR_OK;
}

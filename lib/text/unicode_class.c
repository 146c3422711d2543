/* SPDX-License-Identifier: MIT */
/*
 * Character classes from utf8proc's general categories. White_Space is spelled
 * out because it is a property and not a category (U+0085 is a control character, U+200B is
 * not white space). Stateless; any thread.
 */
#include "unicode_class.h"

#include <utf8proc.h>

#include "utf8.h"

const uint8_t llrti_unicode_class_ascii[128] = {
    0,   0,   0,   0,   0,   0,   0,   0,   0,   4,   36,  4,   4,   36,  0,   0,   0,   0,   0,
    0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   4,   80,  80,  80,  64,  80,
    80,  80,  80,  80,  80,  64,  80,  80,  80,  80,  130, 130, 130, 130, 130, 130, 130, 130, 130,
    130, 80,  80,  64,  64,  64,  80,  80,  129, 129, 129, 129, 129, 129, 129, 129, 129, 129, 129,
    129, 129, 129, 129, 129, 129, 129, 129, 129, 129, 129, 129, 129, 129, 129, 80,  80,  80,  64,
    208, 64,  129, 129, 129, 129, 129, 129, 129, 129, 129, 129, 129, 129, 129, 129, 129, 129, 129,
    129, 129, 129, 129, 129, 129, 129, 129, 129, 80,  64,  80,  64,  0,
};

static int is_white_space(uint32_t c)
{
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

uint32_t llrti_unicode_class_of(uint32_t code_point)
{
    if (is_white_space(code_point)) return LLRTI_CLASS_SPACE;
    switch (utf8proc_category((utf8proc_int32_t)code_point)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return LLRTI_CLASS_LETTER | LLRTI_CLASS_WORD;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
        return LLRTI_CLASS_MARK | LLRTI_CLASS_WORD;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
        return LLRTI_CLASS_NUMBER | LLRTI_CLASS_WORD;
    case UTF8PROC_CATEGORY_NO:
        return LLRTI_CLASS_NUMBER;
    case UTF8PROC_CATEGORY_PC:
        return LLRTI_CLASS_PUNCT | LLRTI_CLASS_WORD;
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
        return LLRTI_CLASS_PUNCT;
    default:
        return 0;
    }
}

uint32_t llrti_unicode_class_long(const char *text, size_t n, size_t *n_char)
{
    uint32_t code_point;
    const size_t length = llrti_utf8_decode(text, n, &code_point);
    if (code_point == LLRTI_UTF8_INVALID) {
        *n_char = 1;
        return 0;
    }
    *n_char = length;
    return llrti_unicode_class_of(code_point);
}

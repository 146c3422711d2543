/* SPDX-License-Identifier: MIT */
/* Byte-level vocabularies: the byte alphabet as GPT-2 defines it, and any bytes there and back. */
#include "tokenizer_fixture.h"

#include "tokenizer_impl.h"
#include "utf8.h"

/* GPT-2's rule: printable Latin-1 bytes stand for themselves, the others count up from 256. */
static uint32_t alphabet_of(uint32_t byte)
{
    uint32_t next = 256;
    for (uint32_t b = 0;; b++) {
        const bool is_plain = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        if (b == byte) return is_plain ? b : next;
        next += !is_plain;
    }
}

static void test_alphabet(void **state)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        char name[4], out[4];
        const size_t n = llrti_utf8_encode(alphabet_of(byte), name);
        assert_int_equal(llrti_bytelevel_decode(name, n, out), 1);
        assert_int_equal((uint8_t)out[0], byte);
    }
    char out[8];
    assert_int_equal(llrti_bytelevel_decode("a b", 3, out), 3); /* a space is outside: copied */
    assert_memory_equal(out, "a b", 3);
    assert_int_equal(llrti_bytelevel_decode("\xc5\x84", 2, out), 2); /* so is U+0144 */
    assert_int_equal(llrti_bytelevel_decode("a\xff", 2, out), 2);
}

static llrt_tokenizer *open_all_bytes(const char *pre_tokenizer)
{
    static char json[16384];
    size_t n = (size_t)snprintf(
        json, sizeof json,
        "{\"pre_tokenizer\":%s,\"model\":{\"ignore_merges\":true,\"merges\":[\"a b\",\"ab c\"],"
        "\"vocab\":{\"ab\":256,\"abc\":257,\"xyz\":258",
        pre_tokenizer);
    for (uint32_t byte = 0; byte < 256; byte++)
        n +=
            (size_t)snprintf(json + n, sizeof json - n, ",\"\\u%04x\":%u", alphabet_of(byte), byte);
    snprintf(json + n, sizeof json - n, "}}}");
    return open_json_text(json);
}

static void test_any_bytes_come_back(void **state)
{
    llrt_tokenizer *const t = open_all_bytes("{\"type\":\"ByteLevel\",\"add_prefix_space\":false}");
    uint64_t rng = 3;
    for (int round = 0; round < 2000; round++) {
        char text[200], back[200];
        int32_t ids[200];
        size_t n_id, n_back, n = 0;
        for (; n < 200; n++) {
            rng = rng * 6364136223846793005u + 1442695040888963407u;
            text[n] = (char)(rng >> 33);
            if (rng >> 60 == 0 || (round % 3 == 0 && rng >> 62))
                text[n] = "abc 1\n"[(rng >> 33) % 6];
        }
        assert_int_equal(llrt_tokenizer_encode(t, text, n, 0, ids, 200, &n_id, NULL), 0);
        assert_int_equal(llrt_tokenizer_decode(t, ids, n_id, 0, back, 200, &n_back, NULL), 0);
        assert_int_equal(n_back, n);
        assert_memory_equal(back, text, n);
    }
    llrt_tokenizer_free(t);
}

static void test_whole_words_before_merges(void **state)
{
    llrt_tokenizer *const t = open_all_bytes("{\"type\":\"ByteLevel\",\"add_prefix_space\":false}");
    CHECK_IDS(t, "xyz xyz", 0, 258, ' ', 'x', 'y', 'z'); /* " xyz" is no token: its merges count */
    CHECK_IDS(t, "abcc", 0, 257, 'c');
    llrt_tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alphabet),
        cmocka_unit_test(test_any_bytes_come_back),
        cmocka_unit_test(test_whole_words_before_merges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

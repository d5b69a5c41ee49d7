#include "queue/payload.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace cache_sync {
namespace {

std::string record(TouchKind kind, std::string_view text) {
    std::string bytes(record_size(text.size()), '\0');
    EXPECT_EQ(write_record(bytes.data(), kind, text), bytes.data() + bytes.size());
    return bytes;
}

TEST(Payload, RecordsComeBackAsTheyWere) {
    for (const std::size_t length : {0u, 1u, 127u, 128u, 4096u, 16383u, 16384u}) {
        const std::string text(length, '\xff');
        const std::string bytes = record(TouchKind::tag, text) + record(TouchKind::key, "k");
        std::string_view rest = bytes;
        const auto first = take_record(rest);
        ASSERT_TRUE(first);
        EXPECT_EQ(first->kind, TouchKind::tag);
        EXPECT_EQ(first->text, text);
        const auto second = take_record(rest);
        ASSERT_TRUE(second);
        EXPECT_EQ(second->text, "k");
        EXPECT_FALSE(take_record(rest));
    }
}

TEST(Payload, DamageIsFoundAndNothingIsReadBeyondTheEnd) {
    const std::string whole = record(TouchKind::key, std::string(300, 'x'));
    for (std::size_t length = 0; length < whole.size(); ++length) {
        std::string_view cut(whole.data(), length);
        EXPECT_FALSE(take_record(cut)) << length;
        EXPECT_EQ(cut.size(), length);
    }
    const std::string endless = "K" + std::string(20, '\xff');
    std::string_view rest = endless;
    EXPECT_FALSE(take_record(rest));
}

TEST(Payload, RowsHoldWholeRecordsAndLoseNone) {
    std::random_device device;
    const auto seed = device();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    std::string log;
    std::vector<std::string> texts;
    for (int n = 0; n < 5000; ++n) {
        texts.emplace_back(random() % (n % 50 == 0 ? kMaxTouchLength : 40), 'a' + n % 26);
        log += record(TouchKind::key, texts.back());
    }
    std::size_t seen = 0;
    for (std::string_view rest = log; !rest.empty();) {
        std::string_view row = first_row(rest);
        ASSERT_FALSE(row.empty());
        ASSERT_LE(row.size(), kMaxRowPayload);
        rest.remove_prefix(row.size());
        while (const auto one = take_record(row))
            EXPECT_EQ(one->text, texts[seen++]);
        EXPECT_TRUE(row.empty());
    }
    EXPECT_EQ(seen, texts.size());
}

}  // namespace
}  // namespace cache_sync

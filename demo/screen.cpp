#include "screen.h"

#include <langinfo.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <clocale>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace cache_sync::demo {
namespace {

constexpr std::size_t kWidth = 94;
constexpr std::chrono::seconds kWindow{2};
constexpr std::chrono::seconds kTrend{30};
constexpr std::chrono::seconds kLogEvery{5};
constexpr const char *kBold = "1";
constexpr const char *kFaint = "2";
constexpr const char *kRed = "1;31";
constexpr const char *kGreen = "1;32";

std::string format(const char *pattern, double number) {
    char text[64];
    std::snprintf(text, sizeof text, pattern, number);
    return text;
}

std::string padded(const std::string &text, int width) {
    const std::string blanks(std::max(0, std::abs(width) - static_cast<int>(text.size())), ' ');
    return width < 0 ? text + blanks : blanks + text;
}

std::string whole(double number) {
    return with_commas(static_cast<std::uint64_t>(std::llround(number)));
}

std::string minutes(std::chrono::duration<double> time) {
    const auto seconds = static_cast<int>(time.count());
    char text[32];
    std::snprintf(text, sizeof text, "%d:%02d", seconds / 60, seconds % 60);
    return text;
}

std::string both_ends(const std::string &left, const std::string &right) {
    return left + padded(right, static_cast<int>(kWidth - std::min(kWidth, left.size())));
}

std::string lag_text(const Histogram::Counts &lag) {
    if (total(lag) == 0) {
        return "-";
    }
    return "p50 " + format("%.2f", percentile_ms(lag, 0.5)) + " ms   p99 " +
           format("%.2f", percentile_ms(lag, 0.99)) + " ms";
}

}  // namespace

std::string with_commas(std::uint64_t number) {
    std::string text = std::to_string(number);
    for (std::size_t i = text.size(); i > 3; i -= 3) {
        text.insert(i - 3, ",");
    }
    return text;
}

Look look_of_stdout() {
    std::setlocale(LC_CTYPE, "");
    Look look;
    winsize size{};
    const bool is_large_enough =
        ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row >= 32 && size.ws_col >= 96;
    look.is_terminal = isatty(STDOUT_FILENO) != 0 && is_large_enough;
    look.has_colour = look.is_terminal && std::getenv("NO_COLOR") == nullptr;
    look.has_utf8 = std::string_view(nl_langinfo(CODESET)) == "UTF-8";
    return look;
}

Screen::Screen(Look look, Titles titles, std::chrono::seconds duration)
    : look_(look),
      titles_(std::move(titles)),
      duration_(duration),
      started_(std::chrono::steady_clock::now()),
      logged_(started_) {
    if (look_.is_terminal) {
        std::fputs("\033[?25l", stdout);  // the cursor would flicker over the numbers
    }
}

Screen::~Screen() {
    if (look_.is_terminal) {
        std::fputs("\033[?25h", stdout);
        std::fflush(stdout);
    }
}

void Screen::show(const Sample &sample) {
    samples_.push_back(sample);
    while (samples_.size() > 2 && now().taken - samples_[1].taken > kTrend) {
        samples_.pop_front();
    }
    if (!look_.is_terminal) {
        if (now().taken - logged_ >= kLogEvery) {
            logged_ = now().taken;
            std::puts(log_line().c_str());
            std::fflush(stdout);
        }
        return;
    }
    std::string output;
    if (drawn_lines_ > 0) {
        output = "\033[" + std::to_string(drawn_lines_) + "F";
    }
    const std::vector<std::string> drawn = lines();
    for (const std::string &line : drawn) {
        output += line + "\033[K\n";
    }
    drawn_lines_ = drawn.size();
    std::fputs(output.c_str(), stdout);
    std::fflush(stdout);
}

std::vector<std::string> Screen::lines() const {
    std::vector<std::string> lines;
    lines.push_back("");
    lines.push_back(" " + coloured("cache_sync demo", kBold) + padded(titles_.servers, kWidth - 16));
    lines.push_back(
        coloured(both_ends(" " + titles_.shop, minutes(elapsed()) + " of " + minutes(duration_)), kFaint));
    lines.push_back(" " + progress());
    lines.push_back("");
    lines.push_back(" " + coloured("Writers", kBold) +
                    coloured("                           per second         total", kFaint));
    lines.push_back(write_line("transactions committed", &Sample::committed, true));
    lines.push_back(write_line("rows changed by them", &Sample::rows, true));
    lines.push_back(write_line("rolled back", &Sample::rolled_back, false));
    lines.push_back(write_line("partly, to a savepoint", &Sample::savepoints, false));
    lines.push_back(write_line("bulk updates of a category", &Sample::bulk, false));
    lines.push_back("");
    lines.push_back(" " + coloured("cache_sync", kBold));
    lines.push_back(write_line("invalidations published", &Sample::published, true));
    lines.push_back("   " + padded("lag, commit to key gone", -28) + lag_text(recent_lag()) +
                    coloured("   whole run: " + lag_text(now().lag), kFaint));
    lines.push_back("");
    add_views(lines);
    lines.push_back("");
    add_readers(lines);
    return lines;
}

void Screen::add_views(std::vector<std::string> &lines) const {
    lines.push_back(" " + coloured("Views", kBold) +
                    coloured(padded("refreshes", 35) + padded("last took", 12) + padded("rows changed", 18) +
                                 padded("keys, total", 13) + padded("behind", 10),
                             kFaint));
    for (const ViewSample &view : now().views) {
        const std::string rows = "+" + with_commas(view.rows_added) + " -" + with_commas(view.rows_removed);
        lines.push_back("   " + padded(view.name, -27) + padded(with_commas(view.refreshes), 11) +
                        padded(format("%.2f s", view.duration_ms / 1000), 12) + padded(rows, 18) +
                        padded(with_commas(view.keys), 13) +
                        padded(view.behind_s ? format("%.1f s", *view.behind_s) : "-", 10));
    }
}

void Screen::add_readers(std::vector<std::string> &lines) const {
    const auto counts = [&](const std::string &name, std::uint64_t SideSample::*counter) {
        return side_line(name, with_commas(now().synced.*counter), with_commas(now().viewed.*counter),
                         with_commas(now().naive.*counter));
    };
    // Only the fill protocol refuses fills and sends readers past the cache.
    const auto counts_of_ours = [&](const std::string &name, std::uint64_t SideSample::*counter) {
        return side_line(name, with_commas(now().synced.*counter), with_commas(now().viewed.*counter), "-");
    };
    lines.push_back(" " + coloured("Readers", kBold) + padded("cache_sync, tables", 44) +
                    padded("cache_sync, views", 21) + padded("naive application", 21));
    lines.push_back(coloured(
        side_line("how they cache", "cs_get, cs_fill", "cs_get, cs_fill", "GET, SELECT, SET"), kFaint));
    lines.push_back(coloured(
        side_line("how a write invalidates", "nothing to do", "nothing to do", "DEL before COMMIT"), kFaint));
    lines.push_back(side_line("reads per second", whole(side_rate(&Sample::synced, &SideSample::reads)),
                              whole(side_rate(&Sample::viewed, &SideSample::reads)),
                              whole(side_rate(&Sample::naive, &SideSample::reads))));
    lines.push_back(side_line("hit rate", format("%.1f %%", hit_rate(&Sample::synced)),
                              format("%.1f %%", hit_rate(&Sample::viewed)),
                              format("%.1f %%", hit_rate(&Sample::naive))));
    lines.push_back(counts("fills", &SideSample::fills));
    lines.push_back(counts_of_ours("fills refused as too late", &SideSample::refused));
    lines.push_back(counts_of_ours("reads sent past the cache", &SideSample::bypassed));
    lines.push_back(counts("hits compared with source", &SideSample::checked));
    std::string stale = "   " + coloured("stale reads found", kBold) + padded("", 11);
    for (const std::uint64_t found : {now().synced.stale, now().viewed.stale, now().naive.stale}) {
        stale += coloured(padded(with_commas(found), 21), found == 0 ? kGreen : kRed);
    }
    lines.push_back(stale);
}

std::string Screen::progress() const {
    const double share = std::min(1.0, elapsed() / std::chrono::duration<double>(duration_));
    const auto done = static_cast<std::size_t>(share * (kWidth - 1));
    std::string bar;
    for (std::size_t i = 0; i < kWidth - 1; ++i) {
        const char *full = look_.has_utf8 ? "━" : "=";
        const char *empty = look_.has_utf8 ? "╌" : "-";
        bar += i < done ? full : empty;
    }
    return bar;
}

std::string Screen::log_line() const {
    return minutes(elapsed()) + "  " + whole(rate(&Sample::committed)) + " tx/s  " +
           whole(rate(&Sample::rows)) + " rows/s  " + whole(rate(&Sample::published)) +
           " invalidations/s  lag " + lag_text(recent_lag()) + "  hit rate " +
           format("%.0f %%", hit_rate(&Sample::synced)) + " (naive " +
           format("%.0f %%", hit_rate(&Sample::naive)) + ")  stale reads " + with_commas(now().synced.stale) +
           " (naive " + with_commas(now().naive.stale) + ")" + views_text();
}

std::string Screen::views_text() const {
    std::string text;
    for (const ViewSample &view : now().views) {
        text += "\n      " + view.name + ": " + with_commas(view.refreshes) + " refreshes, the last " +
                format("%.2f s", view.duration_ms / 1000) + ", +" + with_commas(view.rows_added) + " -" +
                with_commas(view.rows_removed) + " rows; " + with_commas(view.keys) + " keys invalidated; " +
                (view.behind_s ? format("%.1f s behind", *view.behind_s) : std::string("up to date"));
    }
    return text + "\n      their entries: hit rate " + format("%.0f %%", hit_rate(&Sample::viewed)) +
           ", stale reads " + with_commas(now().viewed.stale);
}

std::string Screen::write_line(const std::string &name, std::uint64_t Sample::*counter,
                               bool has_trend) const {
    return "   " + padded(name, -27) + padded(whole(rate(counter)), 14) +
           padded(with_commas(now().*counter), 14) +
           (has_trend ? "   " + trend(rates(counter)) : std::string());
}

std::string Screen::side_line(const std::string &name, const std::string &synced, const std::string &viewed,
                              const std::string &naive) const {
    return "   " + padded(name, -28) + padded(synced, 21) + padded(viewed, 21) + padded(naive, 21);
}

std::string Screen::trend(const std::vector<double> &rates) const {
    static constexpr const char *kBars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    if (!look_.has_utf8 || rates.empty()) {
        return "";
    }
    const double top = std::max(1.0, *std::max_element(rates.begin(), rates.end()));
    std::string bars;
    for (const double rate : rates) {
        bars += kBars[std::min<int>(7, static_cast<int>(rate / top * 7.99))];
    }
    return bars;
}

// One rate a second for the last half minute, the newest last.
std::vector<double> Screen::rates(std::uint64_t Sample::*counter) const {
    std::vector<double> rates;
    const Sample *from = &samples_.front();
    for (const Sample &sample : samples_) {
        const std::chrono::duration<double> time = sample.taken - from->taken;
        if (time >= std::chrono::milliseconds(990)) {
            rates.push_back(static_cast<double>(sample.*counter - from->*counter) / time.count());
            from = &sample;
        }
    }
    return rates;
}

const Sample &Screen::before() const {
    for (auto sample = samples_.rbegin(); sample != samples_.rend(); ++sample) {
        if (now().taken - sample->taken >= kWindow) {
            return *sample;
        }
    }
    return samples_.front();
}

double Screen::rate(std::uint64_t Sample::*counter) const {
    const std::chrono::duration<double> time = now().taken - before().taken;
    return time.count() <= 0 ? 0 : static_cast<double>(now().*counter - before().*counter) / time.count();
}

double Screen::side_rate(SideSample Sample::*side, std::uint64_t SideSample::*counter) const {
    const std::chrono::duration<double> time = now().taken - before().taken;
    return time.count() <= 0
               ? 0
               : static_cast<double>(now().*side.*counter - before().*side.*counter) / time.count();
}

double Screen::hit_rate(SideSample Sample::*side) const {
    const double reads = side_rate(side, &SideSample::reads);
    return reads <= 0 ? 0 : 100 * side_rate(side, &SideSample::hits) / reads;
}

Histogram::Counts Screen::recent_lag() const {
    return difference(now().lag, samples_.size() < 2 ? Histogram::Counts{} : before().lag);
}

std::string Screen::coloured(const std::string &text, const char *code) const {
    return look_.has_colour ? "\033[" + std::string(code) + "m" + text + "\033[0m" : text;
}

}  // namespace cache_sync::demo

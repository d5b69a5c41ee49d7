#pragma once

#include <chrono>
#include <deque>
#include <string>
#include <vector>

#include "sample.h"

namespace cache_sync::demo {

struct Look {
    bool is_terminal = false;
    bool has_colour = false;
    bool has_utf8 = false;
};

// What the standard output can show; NO_COLOR is respected.
Look look_of_stdout();

// The words of the screen that do not change.
struct Titles {
    std::string servers;  // "PostgreSQL 17.5, Redis 8.0.2"
    std::string shop;     // "100,000 products, ..."
};

// One screen that is drawn over itself; where the output is no terminal, one line every few seconds.
class Screen {
 public:
    Screen(Look look, Titles titles, std::chrono::seconds duration);
    ~Screen();
    Screen(const Screen &) = delete;
    Screen &operator=(const Screen &) = delete;
    void show(const Sample &sample);

 private:
    std::vector<std::string> lines() const;
    std::string progress() const;
    void add_views(std::vector<std::string> &lines) const;
    void add_readers(std::vector<std::string> &lines) const;
    std::string log_line() const;
    std::string views_text() const;
    std::string trend(const std::vector<double> &rates) const;
    std::vector<double> rates(std::uint64_t Sample::*counter) const;
    double rate(std::uint64_t Sample::*counter) const;
    double side_rate(SideSample Sample::*side, std::uint64_t SideSample::*counter) const;
    double hit_rate(SideSample Sample::*side) const;
    Histogram::Counts recent_lag() const;
    std::string coloured(const std::string &text, const char *code) const;
    std::string write_line(const std::string &name, std::uint64_t Sample::*counter, bool has_trend) const;
    std::string side_line(const std::string &name, const std::string &synced, const std::string &viewed,
                          const std::string &naive) const;
    const Sample &now() const { return samples_.back(); }
    // The sample that lies at least two seconds back, or the oldest.
    const Sample &before() const;
    std::chrono::duration<double> elapsed() const { return now().taken - started_; }

    Look look_;
    Titles titles_;
    std::chrono::seconds duration_;
    std::chrono::steady_clock::time_point started_;
    std::chrono::steady_clock::time_point logged_;
    std::deque<Sample> samples_;
    std::size_t drawn_lines_ = 0;
};

// 1234567 as "1,234,567".
std::string with_commas(std::uint64_t number);

}  // namespace cache_sync::demo

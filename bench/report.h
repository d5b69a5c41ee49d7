#pragma once

#include <fstream>
#include <string>
#include <vector>

namespace cache_sync::bench {

// Every single measurement as a line of a TSV file: what was printed can be computed again from it.
class Tsv {
 public:
    // Starts the file anew.
    Tsv(const std::string &path, std::string command);
    void add(const std::string &cell, int round, const std::string &contender, const std::string &metric,
             double value);

 private:
    std::ofstream out_;
    std::string command_;
};

// Rows of text in columns as wide as their widest cell, as Markdown.
class Table {
 public:
    explicit Table(std::vector<std::string> head) { rows_.push_back(std::move(head)); }
    void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
    void print(const std::string &title) const;

 private:
    std::vector<std::vector<std::string>> rows_;
};

// A line about what is being done, with the time since the start and the load of the machine, on stderr.
void progress(const std::string &text);

// The machine's one-minute load average.
double machine_load();

}  // namespace cache_sync::bench

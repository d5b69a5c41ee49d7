#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace cache_sync::bench {

// Runs a program to its end and returns what it printed. Throws what it printed if it fails.
std::string run_program(const std::vector<std::string> &command);

// Seconds that a process has had a core so far, 0 if it is gone. Unlike the clock it hardly depends on what
// else the machine does.
double cpu_seconds(pid_t pid);

// A program in the background that is ended with the object.
class BackgroundProgram {
 public:
    explicit BackgroundProgram(const std::vector<std::string> &command);
    ~BackgroundProgram();
    BackgroundProgram(const BackgroundProgram &) = delete;
    BackgroundProgram &operator=(const BackgroundProgram &) = delete;

 private:
    pid_t pid_;
};

// Holds a process with SIGSTOP as long as the object lives.
class StoppedProcess {
 public:
    explicit StoppedProcess(pid_t pid);
    ~StoppedProcess();
    StoppedProcess(const StoppedProcess &) = delete;
    StoppedProcess &operator=(const StoppedProcess &) = delete;

 private:
    pid_t pid_;
};

}  // namespace cache_sync::bench

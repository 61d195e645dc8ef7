package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a program that runs for the benchmark.
type process struct {
	name   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  chan string // lines of standard output; closed when the process ends
	output lockedTail  // the end of its output, for errors
}

// start runs a program. It is killed when ctx ends unless stop has ended it.
func start(ctx context.Context, name string, env []string, program string, args ...string) (*process, error) {
	p := &process{name: name, lines: make(chan string, 64)}
	p.cmd = exec.CommandContext(ctx, program, args...) //nolint:gosec // programs of this benchmark
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = &p.output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Cancel = func() error { return p.signal(syscall.SIGKILL) }
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() { // ends with the program's output
		defer close(p.lines)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			_, _ = p.output.Write(append(lines.Bytes(), '\n')) // never fails
			select {
			case p.lines <- lines.Text():
			default: // no reader is left
			}
		}
	}()
	return p, nil
}

// await waits for an output line that contains the text, and returns the rest of the line.
func (p *process) await(text string) (string, error) {
	timeout := time.NewTimer(30 * time.Second)
	defer timeout.Stop()
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				return "", fmt.Errorf("%s ended: %s", p.name, p.output.String())
			}
			if _, after, found := strings.Cut(line, text); found {
				return after, nil
			}
		case <-timeout.C:
			return "", fmt.Errorf("%s does not start: %s", p.name, p.output.String())
		}
	}
}

// signal sends a signal to the program and its workers.
func (p *process) signal(s syscall.Signal) error {
	if err := syscall.Kill(-p.cmd.Process.Pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// stop ends the program as an operator would, and kills it after half a minute.
func (p *process) stop() error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	kill := time.AfterFunc(30*time.Second, func() { _ = p.signal(syscall.SIGKILL) }) // Wait reports the result
	defer kill.Stop()
	err := p.cmd.Wait()
	if _, exited := errors.AsType[*exec.ExitError](err); exited || errors.Is(err, context.Canceled) {
		return nil // ended by our signal
	}
	return err
}

// pids returns the ids of all processes in the process group, including workers.
func (p *process) pids() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var all []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue // not a process
		}
		if group, err := syscall.Getpgid(pid); err == nil && group == p.cmd.Process.Pid {
			all = append(all, pid)
		}
	}
	return all, nil
}

// cpu returns the user and system time of the process and its workers.
func (p *process) cpu() (time.Duration, error) {
	pids, err := p.pids()
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, pid := range pids {
		// This is the clock of clock_getcpuclockid(3): all threads of the process, ended ones included, in nanoseconds.
		// /proc/PID/stat counts only hundredths of a second.
		const allThreads = 2 // CPUCLOCK_SCHED
		var t unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|allThreads), &t); err != nil {
			return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
		}
		sum += time.Duration(t.Nano())
	}
	return sum, nil
}

// resetPeak resets the peak memory to the current use.
func (p *process) resetPeak() error {
	pids, err := p.pids()
	for _, pid := range pids {
		err = errors.Join(err, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0o200))
	}
	return err
}

// peak returns the peak memory since resetPeak in bytes, workers included.
func (p *process) peak() (int64, error) { return p.status("VmHWM:") }

// status returns a kB field of /proc/PID/status in bytes, summed over the workers.
func (p *process) status(field string) (sum int64, err error) {
	pids, err := p.pids()
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, err
		}
		_, after, found := strings.Cut(string(b), field)
		fields := strings.Fields(after)
		if !found || len(fields) == 0 {
			return 0, fmt.Errorf("no %s in /proc/%d/status", field, pid)
		}
		kb, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += kb << 10
	}
	return sum, nil
}

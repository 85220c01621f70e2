// command.go: a message handed to a program of this machine.

package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"sync"
	"time"
)

// CommandConfig is what to run. No shell is involved.
type CommandConfig struct {
	Command []string // the first is an absolute path
	Timeout time.Duration
}

type command struct{ CommandConfig }

// NewCommand runs a command for each message: the event as JSON is its input,
// its exit status the answer.
func NewCommand(c CommandConfig) Sender { return command{c} }

const (
	tempFail  = 75 // EX_TEMPFAIL of sysexits.h
	maxOutput = 4 << 10
	// How long a process that the program left running may hold its output open.
	outputDelay = 2 * time.Second
)

func (c command) Send(ctx context.Context, m Message) Answer {
	input, err := json.Marshal(m.Event)
	if err != nil {
		return Answer{Result: Refused, Words: err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	var out tail
	cmd := exec.CommandContext(ctx, c.Command[0], c.Command[1:]...)
	cmd.Dir = "/"
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"MUSTER_EVENT_KIND=" + string(m.Event.Kind),
		"MUSTER_EVENT_HOST=" + m.Event.Name,
		"MUSTER_EVENT_SEQ=" + strconv.FormatUint(m.Event.Seq, 10),
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(append(input, '\n')), &out, &out
	cmd.Cancel = func() error { return killAll(cmd) }
	cmd.WaitDelay = outputDelay
	if err := start(cmd); err != nil {
		return Answer{Result: Later, Words: clean(err.Error(), 200)}
	}
	err = cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) {
		// The command ended, but a process that it started still holds its output open.
		_ = killAll(cmd)
	}
	switch s := cmd.ProcessState; {
	case s != nil && s.Success():
		return Answer{Words: "exit status 0"}
	case ctx.Err() != nil:
		return Answer{Result: Later, Words: out.after(fmt.Sprintf("not done within %s; killed", rough(c.Timeout)))}
	case s == nil:
		return Answer{Result: Later, Words: clean(err.Error(), 200)}
	case s.ExitCode() == tempFail:
		return Answer{Result: Later, Words: out.after("exit status 75")}
	default:
		return Answer{Result: Refused, Words: out.after(s.String())}
	}
}

// tail is a writer that keeps only the end of what was written.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p[max(0, len(p)-maxOutput):]...)
	if n := len(t.b) - maxOutput; n > 0 {
		t.b = append(t.b[:0], t.b[n:]...)
	}
	return len(p), nil
}

func (t *tail) after(words string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := clean(string(t.b), maxOutput); s != "" {
		return words + ": " + s
	}
	return words
}

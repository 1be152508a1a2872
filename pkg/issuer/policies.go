package issuer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// policiesCommand returns the command that tests whether network policies are
// enforced.
func policiesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "policies HOST:PORT…", Short: "Report whether network policies refuse connections to these addresses",
		Long: "Try connections that network policies forbid, and report whether they are refused. Where all are accepted, nothing\n" +
			"enforces the policies, which is a warning. Where only some are, one of them is open, which is an error.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("write %s HOST:PORT…, but got no address", cmd.CommandPath())
			}
			for _, address := range args {
				if _, _, err := net.SplitHostPort(address); err != nil {
					return fmt.Errorf("write %s HOST:PORT…: %w", cmd.CommandPath(), err)
				}
			}
			return nil
		},
	}
	p := policies{timeout: 3 * time.Second}
	cmd.Flags().DurationVar(&p.wait, "wait", 15*time.Second, "how long to wait until a connection is refused: policies of a new pod may take a few seconds")
	cmd.RunE = func(cmd *cobra.Command, addresses []string) error {
		p.out = cmd.OutOrStdout()
		return p.run(cmd.Context(), addresses)
	}
	return cmd
}

type policies struct {
	wait    time.Duration // until a connection is refused
	timeout time.Duration // of a connection
	out     io.Writer
}

// run tries a connection to each address, and returns an error if some are refused and
// others are not.
func (p *policies) run(ctx context.Context, addresses []string) error {
	until := time.Now().Add(p.wait)
	var accepted []string
	refused := 0
	for _, address := range addresses {
		err := p.awaitRefusal(ctx, address, until)
		var unknown *net.DNSError
		switch {
		case err == nil:
			p.report("accepted  ", address, nil)
			accepted = append(accepted, address)
		case errors.As(err, &unknown):
			p.report("not tested", address, err)
		default:
			p.report("refused   ", address, err)
			refused++
		}
	}
	switch {
	case refused > 0 && len(accepted) > 0:
		return fmt.Errorf("the network policies are enforced, but connections to %s are accepted: look for another policy that allows them (kubectl get networkpolicy)",
			strings.Join(accepted, ", "))
	case refused > 0:
		_, _ = fmt.Fprintln(p.out, "The network policies are enforced: they refuse these connections.")
	case len(accepted) > 0:
		_, _ = fmt.Fprintln(p.out, "WARNING: THE NETWORK POLICIES ARE NOT ENFORCED: all of these connections should be refused, and all are accepted.\n"+
			"Use a network plugin that enforces policies, or look for another policy that allows the connections (kubectl get networkpolicy).")
	default:
		_, _ = fmt.Fprintln(p.out, "WARNING: NOTHING WAS TESTED: no name could be resolved. Another policy may forbid this pod to ask DNS.")
	}
	return nil
}

func (p *policies) report(result, address string, err error) {
	if err != nil {
		result, address = result+" "+address+":", err.Error()
	}
	_, _ = fmt.Fprintln(p.out, result, address)
}

// awaitRefusal connects to address until that fails, and returns the failure. It returns
// nil if connections are still accepted at the given time.
func (p *policies) awaitRefusal(ctx context.Context, address string, until time.Time) error {
	const pause = 500 * time.Millisecond
	dialer := net.Dialer{Timeout: p.timeout}
	for {
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		_ = conn.Close()
		if time.Now().Add(pause).After(until) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

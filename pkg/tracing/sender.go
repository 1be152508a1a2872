package tracing

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// reportInterval keeps a collector that is away from filling the log.
const reportInterval = time.Minute

// sender is the way of the OTLP exporter to the collector, an
// [otlptrace.Client]. The exporter's own one would bring all of gRPC along.
type sender struct {
	endpoint string
	http     *http.Client
	log      *zap.Logger
	reported time.Time
	// open ends when nothing is sent any more.
	open  context.Context
	close context.CancelFunc
}

func newSender(endpoint string, log *zap.Logger) *sender {
	s := &sender{
		endpoint: strings.TrimSuffix(endpoint, "/") + tracesPath, log: log,
		// A batch every few seconds is worth no connection that is kept.
		http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	}
	s.open, s.close = context.WithCancel(context.Background())
	return s
}

// Start and Stop have nothing to do: the collector may come later, and
// Tracing.Close ends it all.
func (s *sender) Start(context.Context) error { return nil }
func (s *sender) Stop(context.Context) error  { return nil }

// UploadTraces sends spans once. It returns no error: the SDK could only hand
// it to a handler that is global. It is not called concurrently.
func (s *sender) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.open, cancel)()
	err := s.send(ctx, spans)
	if err != nil && s.open.Err() == nil && time.Since(s.reported) >= reportInterval {
		s.reported = time.Now()
		s.log.Warn("traces are lost, and nothing else: is there a collector that speaks OTLP over HTTP at Tracing.Endpoint?", zap.Error(err))
	}
	return nil
}

func (s *sender) send(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// The same on the wire as ExportTraceServiceRequest, whose package has gRPC in it.
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.endpoint, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	answer, err := s.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("%s answered %s", s.endpoint, answer.Status)
	}
	return nil
}

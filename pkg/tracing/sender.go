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

// reportInterval is the minimum interval between warnings about the collector.
const reportInterval = time.Minute

// sender is an [otlptrace.Client]. The client of the OTLP module depends on gRPC.
type sender struct {
	endpoint string
	http     *http.Client
	log      *zap.Logger
	reported time.Time
	// open is canceled by close.
	open  context.Context
	close context.CancelFunc
}

func newSender(endpoint string, log *zap.Logger) *sender {
	s := &sender{
		endpoint: strings.TrimSuffix(endpoint, "/") + tracesPath, log: log,
		// Batches are too rare for persistent connections.
		http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	}
	s.open, s.close = context.WithCancel(context.Background())
	return s
}

// Start and Stop do nothing. Tracing.Close closes the sender.
func (s *sender) Start(context.Context) error { return nil }
func (s *sender) Stop(context.Context) error  { return nil }

// UploadTraces sends spans without retries. It logs errors instead of returning them,
// because the SDK passes them to a global handler. It is not called concurrently.
func (s *sender) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.open, cancel)()
	err := s.send(ctx, spans)
	if err != nil && s.open.Err() == nil && time.Since(s.reported) >= reportInterval {
		s.reported = time.Now()
		s.log.Warn("traces are lost, requests are not affected: check that Tracing.Endpoint is a collector for OTLP over HTTP", zap.Error(err))
	}
	return nil
}

func (s *sender) send(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// TracesData has the encoding of ExportTraceServiceRequest, whose package depends on gRPC.
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.endpoint, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	response, err := s.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s answered %s", s.endpoint, response.Status)
	}
	return nil
}

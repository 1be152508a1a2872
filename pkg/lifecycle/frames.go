package lifecycle

// clientPreface is what an HTTP/2 client sends first (RFC 9113, section 3.4).
const clientPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Of RFC 9113, section 4.1 and 6.
const (
	frameHeaderLen    = 9
	frameHeaders      = 1
	frameContinuation = 9
	flagEndHeaders    = 4
)

// frames follows what arrives on a connection as far as to know whether it is
// HTTP/2, and then where its frames end.
type frames struct {
	http1   bool
	preface int // bytes of clientPreface that have arrived
	header  [frameHeaderLen]byte
	have    int // bytes of header that have arrived
	payload int // bytes of the payload that have not arrived
	open    bool
}

// arrive must be called with all bytes in their order.
func (f *frames) arrive(data []byte) {
	for len(data) > 0 && !f.http1 {
		switch {
		case f.preface < len(clientPreface):
			f.http1 = data[0] != clientPreface[f.preface]
			f.preface++
			data = data[1:]
		case f.payload > 0:
			n := min(f.payload, len(data))
			f.payload -= n
			data = data[n:]
		default:
			n := copy(f.header[f.have:], data)
			f.have += n
			data = data[n:]
			if f.have == frameHeaderLen {
				f.begin()
			}
		}
	}
}

func (f *frames) begin() {
	h := f.header
	f.have, f.payload = 0, int(h[0])<<16|int(h[1])<<8|int(h[2])
	if h[3] == frameHeaders || h[3] == frameContinuation {
		f.open = h[4]&flagEndHeaders == 0
	}
}

// http2 reports whether the preface has arrived.
func (f *frames) http2() bool { return !f.http1 && f.preface == len(clientPreface) }

// complete reports whether no part of a frame, or of a header in several frames, is
// missing.
func (f *frames) complete() bool { return f.have == 0 && f.payload == 0 && !f.open }

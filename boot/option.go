package boot

type Option struct {
	Code uint8
	Data []byte
}
type Menu struct{}

package nettest

// This file is a virtual machine of the lab: QEMU with real firmware, connected
// to a switch, with its serial console recorded.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Firmware is a machine's firmware, which decides how it boots from the
// network.
type Firmware int

const (
	UEFI         Firmware = iota // x64 UEFI, PXE over IPv4
	UEFIHTTP                     // x64 UEFI, HTTP boot
	BIOS                         // SeaBIOS with iPXE as the network card's ROM
	ARM64                        // arm64 UEFI, PXE over IPv4
	ARM64HTTP                    // arm64 UEFI, HTTP boot
	ARM64UBoot                   // U-Boot on an arm64 board
	RISCV64UBoot                 // U-Boot on a riscv64 board
)

func (f Firmware) String() string {
	return [...]string{"uefi", "uefi-http", "bios", "arm64", "arm64-http", "arm64-uboot", "riscv64-uboot"}[f]
}

// Arch is the architecture by the name Kernel and Initrd know it.
func (f Firmware) Arch() string {
	switch f {
	case ARM64, ARM64HTTP, ARM64UBoot:
		return "arm64"
	case RISCV64UBoot:
		return "riscv64"
	}
	return "amd64"
}

// Where the packages of install.sh put firmware; for Need.
const (
	ovmfCode        = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	ovmfVars        = "/usr/share/OVMF/OVMF_VARS_4M.fd"
	secureOVMFCode  = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd"
	secureOVMFVars  = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"
	aavmfCode       = "/usr/share/AAVMF/AAVMF_CODE.fd"
	aavmfVars       = "/usr/share/AAVMF/AAVMF_VARS.fd"
	secureAAVMFCode = "/usr/share/AAVMF/AAVMF_CODE.ms.fd"
	secureAAVMFVars = "/usr/share/AAVMF/AAVMF_VARS.ms.fd"
)

// biosROM is the ROM of QEMU's virtio card, which holds BIOS code too: where
// Debian 13 puts it, or Debian 12.
var biosROM = func() string {
	const rom = "/usr/share/qemu/efi-virtio.rom"
	if _, err := os.Stat(rom); err == nil {
		return rom
	}
	return "/usr/lib/ipxe/qemu/efi-virtio.rom"
}()

// uboot is U-Boot of Debian 12 or 13.
func uboot(f Firmware, debian13 bool) string {
	part, build := "uboot", map[Firmware]string{ARM64UBoot: "qemu_arm64", RISCV64UBoot: "qemu-riscv64_smode"}[f]
	if debian13 {
		part = "uboot-13"
	}
	return cachePath(part + "/usr/lib/u-boot/" + build + "/u-boot.bin")
}

// Needs lists the programs and files a machine with this firmware needs, for
// the function Need.
func (f Firmware) Needs() []string {
	needs := []string{"ip", cachePath("kernel-" + f.Arch()), cachePath("busybox-" + f.Arch())}
	switch f {
	case BIOS:
		return append(needs, "qemu-system-x86_64", biosROM)
	case ARM64, ARM64HTTP:
		return append(needs, "qemu-system-aarch64", aavmfCode, aavmfVars)
	case ARM64UBoot:
		return append(needs, "qemu-system-aarch64", uboot(f, false), uboot(f, true))
	case RISCV64UBoot:
		return append(needs, "qemu-system-riscv64", uboot(f, false), uboot(f, true))
	default:
		return append(needs, "qemu-system-x86_64", ovmfCode, ovmfVars)
	}
}

// A Guest describes a machine. Its zero value is a UEFI one with a made-up MAC.
type Guest struct {
	Name      string // for file names; default the firmware's and a number
	Firmware  Firmware
	MAC       string   // default 52:54:00:... unique in the lab
	UUID      string   // default QEMU's, all zero
	Serial    string   // SMBIOS system serial number
	MemoryMB  int      // default 512
	Disk      string   // raw disk image, tried after the network; default none
	Secure    bool     // UEFI with Secure Boot on and Microsoft's keys
	Debian13  bool     // x64 UEFI of Debian 13, install.sh's part ovmf-13; or its U-Boot
	IPv6      bool     // UEFI that boots by IPv6 and not by IPv4
	DualStack bool     // UEFI that tries IPv4 first and then IPv6
	CACerts   string   // EFI signature list of the CAs that its HTTPS trusts
	Console   string   // file for the console's output; default in the lab's Dir
	ExtraArgs []string // more arguments for QEMU
}

// A VM is a machine that was switched on.
type VM struct {
	Guest   // with its defaults filled in
	Started time.Time

	kill  context.CancelFunc
	qmp   string // socket of QEMU's control protocol
	stdin io.Writer
	done  chan struct{}
	err   error // how QEMU ended; read after done

	mu     sync.Mutex
	file   *os.File
	out    bytes.Buffer
	from   int           // where in out the current power cycle begins
	change chan struct{} // closed and replaced at each output
}

// Boot switches a machine on. It runs until it powers off, is killed, ctx ends,
// or the lab closes.
func (l *Lab) Boot(ctx context.Context, sw *Switch, g Guest) (*VM, error) {
	tap, err := l.tap(sw)
	if err != nil {
		return nil, err
	}
	n := l.nextPort()
	if g.Name == "" {
		g.Name = fmt.Sprintf("%s-%d", g.Firmware, n)
	}
	if g.MAC == "" {
		g.MAC = fmt.Sprintf("52:54:00:77:%02x:%02x", n>>8, n&0xff)
	}
	if g.MemoryMB == 0 {
		g.MemoryMB = 512
	}
	if g.Console == "" {
		g.Console = filepath.Join(l.Dir, g.Name+".console")
	}
	vm := &VM{Guest: g, Started: time.Now(), qmp: filepath.Join(l.Dir, g.Name+".qmp"),
		done: make(chan struct{}), change: make(chan struct{})}
	program, args, err := g.qemu(l.Dir)
	if err != nil {
		return nil, err
	}
	args = append(args, "-qmp", "unix:"+vm.qmp+",server=on,wait=off",
		// No offloads on the tap: frames on the wire carry real checksums.
		"-netdev", "tap,id=net0,script=no,downscript=no,vnet_hdr=off,ifname="+tap)
	args = append(args, g.ExtraArgs...)

	if vm.file, err = os.Create(g.Console); err != nil {
		return nil, err
	}
	ctx, vm.kill = context.WithCancel(ctx)
	cmd := sw.Command(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = vm, vm
	if vm.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		vm.kill()
		vm.file.Close()
		return nil, err
	}
	go func() {
		vm.err = cmd.Wait()
		vm.kill()
		vm.mu.Lock()
		vm.file.Close()
		vm.mu.Unlock()
		close(vm.done)
	}()
	l.mu.Lock()
	l.vms = append(l.vms, vm)
	l.mu.Unlock()
	return vm, nil
}

// qemu returns the program and arguments for the machine, without its network
// cable. It puts the machine's copies of the firmware variables into dir.
func (g Guest) qemu(dir string) (program string, args []string, err error) {
	program = "qemu-system-x86_64"
	nic := "virtio-net-pci,netdev=net0,bootindex=0,mac=" + g.MAC
	var code, vars string
	switch g.Firmware {
	case BIOS:
		// Without graphics SeaBIOS writes to the serial port.
		args = append(args, "-M", "pc,graphics=off")
		// The card keeps QEMU's default ROM, which is biosROM: named explicitly,
		// the same file is not patched to the card's id, and SeaBIOS skips it.
	case ARM64, ARM64HTTP:
		program, code, vars = "qemu-system-aarch64", aavmfCode, aavmfVars
		if g.Secure {
			code, vars = secureAAVMFCode, secureAAVMFVars
		}
		// Debian 13's firmware has no network without random numbers from the CPU.
		args = append(args, "-M", "virt", "-cpu", "max,pauth-impdef=on")
	case ARM64UBoot:
		program = "qemu-system-aarch64"
		args = append(args, "-M", "virt", "-cpu", "cortex-a57", "-bios", uboot(g.Firmware, g.Debian13))
		nic += ",romfile="
	case RISCV64UBoot:
		// OpenSBI, which QEMU brings, starts it in supervisor mode.
		program = "qemu-system-riscv64"
		args = append(args, "-M", "virt", "-kernel", uboot(g.Firmware, g.Debian13))
		nic += ",romfile="
	default:
		code, vars = ovmfCode, ovmfVars
		args = append(args, "-M", "q35,smm="+map[bool]string{true: "on", false: "off"}[g.Secure])
		if g.Secure {
			code, vars = secureOVMFCode, secureOVMFVars
			args = append(args, "-global", "driver=cfi.pflash01,property=secure,value=on")
		}
		if g.Debian13 {
			code, vars = cachePath("ovmf-13"+code), cachePath("ovmf-13"+vars)
		}
	}
	if g.CACerts != "" {
		args = append(args, "-fw_cfg", "name=etc/edk2/https/cacerts,file="+g.CACerts)
	}
	if code != "" {
		vars, err = copyFile(filepath.Join(dir, g.Name+".vars"), vars)
		if err != nil {
			return "", nil, err
		}
		args = append(args,
			"-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+code,
			"-drive", "if=pflash,unit=1,format=raw,file="+vars)
		// Only one way to boot: each of the others would first take time.
		http := g.Firmware == UEFIHTTP || g.Firmware == ARM64HTTP
		for family, wanted := range map[string]bool{"IPv4": !g.IPv6 || g.DualStack, "IPv6": g.IPv6 || g.DualStack} {
			if !wanted || http {
				args = append(args, "-fw_cfg", "name=opt/org.tianocore/"+family+"PXESupport,string=no")
			}
		}
		nic += ",romfile=" // the firmware's own network stack, not iPXE's
	}
	if g.UUID != "" {
		args = append(args, "-uuid", g.UUID)
	}
	if g.Serial != "" && g.Firmware != RISCV64UBoot { // which has no SMBIOS
		args = append(args, "-smbios", "type=1,serial="+g.Serial)
	}
	if g.Disk != "" {
		args = append(args, "-drive", "if=none,id=disk0,format=raw,file="+g.Disk,
			"-device", "virtio-blk-pci,drive=disk0,bootindex=1")
	}
	args = append(args,
		"-accel", "tcg", "-smp", "1", "-m", fmt.Sprint(g.MemoryMB), "-nodefaults",
		"-display", "none", "-serial", "stdio",
		"-device", nic, "-device", "virtio-rng-pci")
	return program, args, nil
}

// Write receives console output; QEMU calls it.
func (vm *VM) Write(p []byte) (int, error) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	vm.out.Write(p)
	close(vm.change)
	vm.change = make(chan struct{})
	return vm.file.Write(p)
}

// Console returns what the console has shown since power on or Reset.
func (vm *VM) Console() string {
	text, _ := vm.console()
	return text
}

func (vm *VM) console() (string, <-chan struct{}) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return string(vm.out.Bytes()[vm.from:]), vm.change
}

// WaitConsole waits until the console has shown substr since power on or Reset.
func (vm *VM) WaitConsole(ctx context.Context, substr string) error {
	fail := func(text, why string) error {
		return fmt.Errorf("%s: %s before the console showed %q; it ends in:\n%s", vm.Name, why, substr, tail(text, 1500))
	}
	for {
		text, change := vm.console()
		if bytes.Contains([]byte(text), []byte(substr)) {
			return nil
		}
		select {
		case <-change:
		case <-vm.done:
			// Output may have come between the check and the end.
			if text, _ = vm.console(); bytes.Contains([]byte(text), []byte(substr)) {
				return nil
			}
			return fail(text, "machine ended")
		case <-ctx.Done():
			return fail(text, ctx.Err().Error())
		}
	}
}

// Type sends keys to the serial console, to answer a boot menu.
func (vm *VM) Type(keys string) error {
	_, err := io.WriteString(vm.stdin, keys)
	return err
}

// Done is closed when the machine is off.
func (vm *VM) Done() <-chan struct{} { return vm.done }

// Kill pulls the power plug and waits until the machine is off.
func (vm *VM) Kill() {
	vm.kill()
	<-vm.done
}

// Reset presses the reset button. Console and WaitConsole start anew.
func (vm *VM) Reset() error {
	conn, err := net.DialTimeout("unix", vm.qmp, 5*time.Second)
	if err != nil {
		return fmt.Errorf("%s: no control connection: %w", vm.Name, err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	vm.mu.Lock()
	vm.from = vm.out.Len()
	vm.mu.Unlock()

	replies := json.NewDecoder(conn)
	var greeting any
	if err := replies.Decode(&greeting); err != nil {
		return fmt.Errorf("%s: control connection: %w", vm.Name, err)
	}
	for _, command := range []string{"qmp_capabilities", "system_reset"} {
		if _, err := fmt.Fprintf(conn, "{\"execute\":%q}\n", command); err != nil {
			return fmt.Errorf("%s: %s: %w", vm.Name, command, err)
		}
		for {
			var reply struct {
				Return *json.RawMessage
				Error  *struct{ Desc string }
			}
			if err := replies.Decode(&reply); err != nil {
				return fmt.Errorf("%s: %s: %w", vm.Name, command, err)
			}
			if reply.Error != nil {
				return fmt.Errorf("%s: %s: %s", vm.Name, command, reply.Error.Desc)
			}
			if reply.Return != nil {
				break // anything else is an event
			}
		}
	}
	return nil
}

func copyFile(to, from string) (string, error) {
	data, err := os.ReadFile(from)
	if err != nil {
		return "", err
	}
	return to, os.WriteFile(to, data, 0o644)
}

func tail(s string, n int) string {
	if len(s) > n {
		return "..." + s[len(s)-n:]
	}
	return s
}

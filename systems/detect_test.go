package systems

// This file detects media in the layout of each distribution, as folders and as
// images that xorriso makes. The layouts are what is known of the real ones; the
// kernels are a few bytes.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/musterboot/muster/images/iso"
	"github.com/musterboot/muster/internal/nettest"
)

// Kernels by their headers.
var (
	bzImage = strings.Repeat("\x00", 0x202) + "HdrS" + strings.Repeat("\x00", 100)
	image   = "MZ" + strings.Repeat("\x00", 0x36) + "ARM\x64" + strings.Repeat("\x00", 100)
	zboot   = "MZ" + strings.Repeat("\x00", 0x3a) + "\x40\x00\x00\x00" + "PE\x00\x00\x64\xaa"
)

type files map[string]string

func with(a files, more ...files) files {
	out := files{}
	for _, m := range append([]files{a}, more...) {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

func treeinfo(family, version, arch string) files {
	return files{".treeinfo": "[checksums]\nimages/install.img = sha256:00\n\n[general]\n; WARNING.0 = see productmd\narch = " + arch + "\nfamily = " + family +
		"\nname = " + family + " " + version + "\nvariant = BaseOS\nversion = " + version + "\n\n[header]\ntype = productmd.treeinfo\nversion = 1.2\n"}
}

var anaconda = files{"images/pxeboot/vmlinuz": "k", "images/pxeboot/initrd.img": "i", "images/install.img": "s", "images/eltorito.img": "e", "media.repo": "m"}
var anacondaX64 = with(anaconda, files{"EFI/BOOT/BOOTX64.EFI": "e", "EFI/BOOT/grub.cfg": "g", "isolinux/vmlinuz": "k"})
var anacondaARM = with(anaconda, files{"EFI/BOOT/BOOTAA64.EFI": "e"})
var packages = files{"BaseOS/repodata/repomd.xml": "r", "AppStream/repodata/repomd.xml": "r"}

const debianInfo = `Debian GNU/Linux 13.6.0 "Trixie" - Official amd64 NETINST with firmware 20260711-09:42`

var media = []struct {
	name   string
	label  string
	folder bool // never an ISO
	files  files
	want   string // distro version arches kernel initrd… variants cmdline
}{
	{"Debian netinst", "Debian 13.6.0 amd64 n", false, files{
		".disk/info": debianInfo, "install.amd/vmlinuz": bzImage, "install.amd/initrd.gz": "i", "install.amd/gtk/initrd.gz": "i",
		"dists/trixie/Release": "r", "pool/main/a/a.deb": "d", "debian": "-> ."},
		"debian 13.6.0 [x64 install.amd/vmlinuz install.amd/initrd.gz] install: --- quiet"},
	{"Debian DVD, arm64", "Debian 12.0.0 arm64 1", false, files{
		".disk/info": `Debian GNU/Linux 12.0.0 "Bookworm" - Official arm64 DVD Binary-1 20230610-10:27`, "install.a64/vmlinuz": image, "install.a64/initrd.gz": "i"},
		"debian 12.0.0 [arm64 install.a64/vmlinuz install.a64/initrd.gz] install: --- quiet"},
	{"Debian live", "d-live 12.10.0 gn amd64", false, files{
		".disk/info": "Official Debian GNU/Linux Live 12.10.0 gnome 2025-03-15T08:59", "live/filesystem.squashfs": "s", "live/vmlinuz": bzImage, "live/initrd.img": "i",
		"live/vmlinuz-6.1.0-9-amd64": bzImage, "live/initrd.img-6.1.0-9-amd64": "i", "live/vmlinuz-6.1.0-32-amd64": bzImage, "live/initrd.img-6.1.0-32-amd64": "i", "install/vmlinuz": "k"},
		"debian-live 12.10.0 [x64 live/vmlinuz-6.1.0-32-amd64 live/initrd.img-6.1.0-32-amd64 live/filesystem.squashfs] live: boot=live components fetch=@IMAGE@/tree/live/filesystem.squashfs"},
	{"Debian live without versions, arm64", "d-live 13.0.0 st arm64", false, files{"live/filesystem.squashfs": "s", "live/vmlinuz": image, "live/initrd.img": "i"},
		"debian-live 13.0.0 [arm64 live/vmlinuz live/initrd.img live/filesystem.squashfs] live: boot=live components fetch=@IMAGE@/tree/live/filesystem.squashfs"},
	{"Debian netboot tarball", "", true, files{
		"debian-installer/amd64/linux": bzImage, "debian-installer/amd64/initrd.gz": "i", "debian-installer/amd64/grub/grub.cfg": "g", "version.info": "Debian version:  12 (bookworm)\nInstaller build: 20230607+deb12u15\n", "pxelinux.0": "-> debian-installer/amd64/pxelinux.0"},
		"debian-netboot 12 [x64 debian-installer/amd64/linux debian-installer/amd64/initrd.gz] install: --- quiet rescue: rescue/enable=true --- quiet from-medium: mirror/country=manual mirror/protocol=http mirror/http/hostname=@HOST@ mirror/http/directory=@PATH@/images/{{ .Params.medium }}/tree mirror/http/proxy= debian-installer/allow_unauthenticated=true --- quiet"},
	{"Debian netboot packages", "", true, files{
		"usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64/linux": bzImage, "usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64/initrd.gz": "i",
		"usr/lib/debian-installer/images/13/amd64/text/debian-installer/amd64/linux": bzImage, "usr/lib/debian-installer/images/13/amd64/text/debian-installer/amd64/initrd.gz": "i",
		"usr/lib/debian-installer/images/13/amd64/text/version.info":                 "Debian version:  13 (trixie)\n",
		"usr/lib/debian-installer/images/12/arm64/text/debian-installer/arm64/linux": image, "usr/lib/debian-installer/images/12/arm64/text/debian-installer/arm64/initrd.gz": "i"},
		"debian-netboot 13 [x64 usr/lib/debian-installer/images/13/amd64/text/debian-installer/amd64/linux usr/lib/debian-installer/images/13/amd64/text/debian-installer/amd64/initrd.gz] [arm64 usr/lib/debian-installer/images/12/arm64/text/debian-installer/arm64/linux usr/lib/debian-installer/images/12/arm64/text/debian-installer/arm64/initrd.gz] install: --- quiet rescue: rescue/enable=true --- quiet from-medium: mirror/country=manual mirror/protocol=http mirror/http/hostname=@HOST@ mirror/http/directory=@PATH@/images/{{ .Params.medium }}/tree mirror/http/proxy= debian-installer/allow_unauthenticated=true --- quiet"},
	{"Ubuntu Server", "Ubuntu-Server 24.04.4 LTS amd64", false, files{
		".disk/info": `Ubuntu-Server 24.04.4 LTS "Noble Numbat" - Release amd64 (20260210)`, "casper/vmlinuz": bzImage, "casper/initrd": "i", "casper/hwe-vmlinuz": bzImage, "casper/hwe-initrd": "i", "casper/ubuntu-server-minimal.squashfs": "s", "EFI/boot/bootx64.efi": "e"},
		"ubuntu-server 24.04.4 [x64 casper/vmlinuz casper/initrd] install: ip=dhcp url=@ISO@ cloud-config-url=/dev/null"},
	{"Ubuntu Server, arm64", "Ubuntu-Server 24.04 LTS arm64", false, files{
		".disk/info": `Ubuntu-Server 24.04 LTS "Noble Numbat" - Release arm64 (20240423)`, "casper/vmlinuz": "\x1f\x8b gzip", "casper/initrd": "i"},
		"ubuntu-server 24.04 [arm64 casper/vmlinuz casper/initrd] install: ip=dhcp url=@ISO@ cloud-config-url=/dev/null"},
	{"Ubuntu Desktop", "Ubuntu 24.04.4 LTS amd64", false, files{
		".disk/info": `Ubuntu 24.04.4 LTS "Noble Numbat" - Release amd64 (20260210)`, "casper/vmlinuz": bzImage, "casper/initrd": "i", "casper/minimal.squashfs": "s"},
		"ubuntu-desktop 24.04.4 [x64 casper/vmlinuz casper/initrd] live: ip=dhcp boot=casper netboot=url url=@ISO@ cloud-config-url=/dev/null"},
	{"Ubuntu MATE", "Ubuntu-MATE 24.04.3 LTS amd64", false, files{
		".disk/info": `Ubuntu-MATE 24.04.3 LTS "Noble Numbat" - Release amd64 (20250805.1)`, "casper/vmlinuz": bzImage, "casper/initrd": "i"},
		"ubuntu-desktop 24.04.3 [x64 casper/vmlinuz casper/initrd] live: ip=dhcp boot=casper netboot=url url=@ISO@ cloud-config-url=/dev/null"},
	{"Ubuntu netboot tarball", "", true, files{
		"amd64/linux": bzImage, "amd64/initrd": "i", "amd64/bootx64.efi": "e", "amd64/pxelinux.0": "p",
		"amd64/grub/grub.cfg": "menuentry 'Install' {\n linux linux iso-url=https://releases.ubuntu.com/noble/ubuntu-24.04.3-live-server-amd64.iso ip=dhcp ---\n}\n"},
		"ubuntu-netboot 24.04.3 [x64 amd64/linux amd64/initrd] install: ip=dhcp url={{ .Params.iso }} cloud-config-url=/dev/null"},
	{"Fedora Server DVD", "Fedora-S-dvd-x86_64-42", false, with(anacondaX64, treeinfo("Fedora", "42", "x86_64"), files{"repodata/repomd.xml": "r", "Packages/a/a.rpm": "r"}),
		"fedora 42 [x64 images/pxeboot/vmlinuz images/pxeboot/initrd.img images/install.img] install: inst.repo=@IMAGE@/tree ip=dhcp rescue: inst.stage2=@IMAGE@/tree inst.rescue ip=dhcp"},
	{"Fedora netinst, arm64", "Fedora-E-dvd-aarch64-42", false, anacondaARM,
		"fedora 42 [arm64 images/pxeboot/vmlinuz images/pxeboot/initrd.img images/install.img] install: inst.stage2=@IMAGE@/tree ip=dhcp rescue: inst.stage2=@IMAGE@/tree inst.rescue ip=dhcp"},
	{"Fedora live", "Fedora-WS-Live-42", false, files{"LiveOS/squashfs.img": "s", "boot/x86_64/loader/linux": bzImage, "boot/x86_64/loader/initrd": "i", "EFI/BOOT/BOOTX64.EFI": "e"},
		"fedora-live 42 [x64 boot/x86_64/loader/linux boot/x86_64/loader/initrd LiveOS/squashfs.img] live: root=live:@IMAGE@/tree/LiveOS/squashfs.img ro rd.live.image rd.neednet=1 ip=dhcp"},
	{"Fedora live before 42", "Fedora-WS-Live-40-1-14", false, files{"LiveOS/squashfs.img": "s", "images/pxeboot/vmlinuz": bzImage, "images/pxeboot/initrd.img": "i", "EFI/BOOT/BOOTX64.EFI": "e"},
		"fedora-live 40 [x64 images/pxeboot/vmlinuz images/pxeboot/initrd.img LiveOS/squashfs.img] live: root=live:@IMAGE@/tree/LiveOS/squashfs.img ro rd.live.image rd.neednet=1 ip=dhcp"},
	{"RHEL DVD", "RHEL-10-0-BaseOS-x86_64", false, with(anacondaX64, packages, treeinfo("Red Hat Enterprise Linux", "10.0", "x86_64")),
		"rhel 10.0 [x64 images/pxeboot/vmlinuz images/pxeboot/initrd.img images/install.img] install: inst.repo=@IMAGE@/tree ip=dhcp rescue: inst.stage2=@IMAGE@/tree inst.rescue ip=dhcp"},
	{"RHEL boot", "RHEL-9-6-0-BaseOS-x86_64", false, anacondaX64,
		"rhel 9.6 [x64 images/pxeboot/vmlinuz images/pxeboot/initrd.img images/install.img] install: inst.stage2=@IMAGE@/tree ip=dhcp rescue: inst.stage2=@IMAGE@/tree inst.rescue ip=dhcp"},
	{"Rocky minimal, arm64", "Rocky-9-7-aarch64-dvd", false, with(anacondaARM, treeinfo("Rocky Linux Minimal", "9.7", "aarch64"), files{"Minimal/repodata/repomd.xml": "r"}),
		"rocky 9.7 [arm64 images/pxeboot/vmlinuz images/pxeboot/initrd.img images/install.img] install: inst.repo=@IMAGE@/tree ip=dhcp rescue: inst.stage2=@IMAGE@/tree inst.rescue ip=dhcp"},
	{"AlmaLinux boot, arm64", "AlmaLinux-10-0-aarch64-dvd", false, anacondaARM,
		"almalinux 10.0 [arm64 images/pxeboot/vmlinuz images/pxeboot/initrd.img images/install.img] install: inst.stage2=@IMAGE@/tree ip=dhcp rescue: inst.stage2=@IMAGE@/tree inst.rescue ip=dhcp"},
	{"CentOS Stream", "CentOS-Stream-9-BaseOS-x86_64", false, with(anacondaX64, packages, treeinfo("CentOS Stream", "9", "x86_64")),
		"centos 9 [x64 images/pxeboot/vmlinuz images/pxeboot/initrd.img images/install.img] install: inst.repo=@IMAGE@/tree ip=dhcp rescue: inst.stage2=@IMAGE@/tree inst.rescue ip=dhcp"},
	{"openSUSE Leap DVD", "openSUSE-Leap-15.6-DVD-x86_64710", false, files{"boot/x86_64/loader/linux": bzImage, "boot/x86_64/loader/initrd": "i", "boot/x86_64/root": "r", "media.1/products": "/ openSUSE-Leap 15.6-1\n"},
		"opensuse Leap-15.6 [x64 boot/x86_64/loader/linux boot/x86_64/loader/initrd] install: install=@IMAGE@/tree netsetup=dhcp"},
	{"openSUSE NET, arm64", "openSUSE-Leap-15.6-NET-aarch6471", false, files{"boot/aarch64/linux": image, "boot/aarch64/initrd": "i"},
		"opensuse Leap-15.6 [arm64 boot/aarch64/linux boot/aarch64/initrd] install: install={{ .Params.repo }} netsetup=dhcp"},
	{"SLES", "SLE-15-SP6-Full-x86_6492.1", false, files{"boot/x86_64/loader/linux": bzImage, "boot/x86_64/loader/initrd": "i", "media.1/products": "/ SLE-15-SP6 15.6-0\n"},
		"sles 15-SP6 [x64 boot/x86_64/loader/linux boot/x86_64/loader/initrd] install: install=@IMAGE@/tree netsetup=dhcp"},
	{"Leap 16", "Install-Leap-16.0-aarch64", false, files{"LiveOS/squashfs.img": "s", "boot/aarch64/loader/linux": image, "boot/aarch64/loader/initrd": "i", "install/repodata/repomd.xml": "r"},
		"suse-agama Leap-16.0 [arm64 boot/aarch64/loader/linux boot/aarch64/loader/initrd LiveOS/squashfs.img] install: root=live:@IMAGE@/tree/LiveOS/squashfs.img rd.neednet=1 ip=dhcp inst.install_url=@IMAGE@/tree/install"},
	{"Alpine", "alpine-std 3.21.3 x86_64", false, files{".alpine-release": "alpine-lts-3.21.3 250213\n", "apks/x86_64/APKINDEX.tar.gz": "a", "apks/.boot_repository": "", "boot/vmlinuz-lts": bzImage, "boot/initramfs-lts": "i", "boot/modloop-lts": "m"},
		"alpine 3.21.3 [x64 boot/vmlinuz-lts boot/initramfs-lts boot/modloop-lts] live: ip=dhcp modules=loop,squashfs alpine_repo=@IMAGE@/tree/apks modloop=@IMAGE@/tree/boot/modloop-lts"},
	{"Alpine virt, arm64", "alpine-virt 3.21.3 aarch64", false, files{"apks/aarch64/APKINDEX.tar.gz": "a", "boot/vmlinuz-virt": zboot, "boot/initramfs-virt": "i", "boot/modloop-virt": "m"},
		"alpine 3.21.3 [arm64 boot/vmlinuz-virt boot/initramfs-virt boot/modloop-virt] live: ip=dhcp modules=loop,squashfs alpine_repo=@IMAGE@/tree/apks modloop=@IMAGE@/tree/boot/modloop-virt"},
	{"Alpine netboot tarball, arm64", "", true, files{"boot/vmlinuz-lts": zboot, "boot/initramfs-lts": "i", "boot/modloop-lts": "m", "boot/dtbs-lts/a.dtb": "d"},
		"alpine-netboot  [arm64 boot/vmlinuz-lts boot/initramfs-lts boot/modloop-lts] live: ip=dhcp modules=loop,squashfs alpine_repo={{ .Params.repo }} modloop=@IMAGE@/boot/modloop-lts from-medium: ip=dhcp modules=loop,squashfs alpine_repo={{ .BaseURL }}/images/{{ .Params.medium }}/tree/apks modloop=@IMAGE@/boot/modloop-lts"},
	{"Alpine netboot folder", "", true, files{"vmlinuz-lts": bzImage, "initramfs-lts": "i", "modloop-lts": "m"},
		"alpine-netboot  [x64 vmlinuz-lts initramfs-lts modloop-lts] live: ip=dhcp modules=loop,squashfs alpine_repo={{ .Params.repo }} modloop=@IMAGE@/modloop-lts from-medium: ip=dhcp modules=loop,squashfs alpine_repo={{ .BaseURL }}/images/{{ .Params.medium }}/tree/apks modloop=@IMAGE@/modloop-lts"},
	{"BlueField, taken apart", "", true, files{"dump-image-v0": image, "dump-initramfs-v0": "i", "dump-info-v0": "{\"Name\": \"BF\", \"Version\": \"4.9.1\"}"},
		"bluefield 4.9.1 [arm64 dump-image-v0 dump-initramfs-v0] install: ip=dhcp bfnet={{ .Params.bfnet }}:dhcp console=hvc0 console=ttyAMA0"},
	{"Raspberry Pi OS, its boot partition", "", true, files{"config.txt": "auto_initramfs=1", "start4.elf": "s", "kernel8.img": image, "issue.txt": "Raspberry Pi reference 2025-10-01\n", "cmdline.txt": "root=PARTUUID=1-02"},
		"raspios 2025-10-01 [arm64 kernel8.img] nfs: console=serial0,115200 console=tty1 root=/dev/nfs nfsroot={{ .Params.nfsroot }},vers=3,tcp rw ip=dhcp rootwait"},
	{"Windows, its files", "", true, files{"wimboot": bzImage, "sources/boot.wim": "w", "sources/install.wim": "i", "setup.exe": "s"},
		"windows  [x64 wimboot sources/boot.wim] pe: "},
	{"Arch", "ARCH_202402", false, files{"arch/boot/x86_64/vmlinuz-linux": bzImage, "arch/boot/x86_64/initramfs-linux.img": "i", "arch/x86_64/airootfs.sfs": "s", "arch/version": "2024.02.01\n"},
		"archlinux 2024.02.01 [x64 arch/boot/x86_64/vmlinuz-linux arch/boot/x86_64/initramfs-linux.img] live: archisobasedir=arch archiso_http_srv=@IMAGE@/tree/ ip=dhcp"},
	{"Proxmox VE", "PVE", false, files{".disk/info": "RELEASE='9.2'\nISORELEASE='1'\nISONAME='proxmox-ve'\nPRODUCT='pve'\nPRODUCTLONG='Proxmox VE'\n", "boot/linux26": bzImage, "boot/initrd.img": "i", "pve-base.squashfs": "s"},
		"proxmox 9.2-1 [x64 boot/linux26 boot/initrd.img] install: ramdisk_size=16777216 rw quiet splash=silent text: ramdisk_size=16777216 rw quiet splash=silent proxtui proxmox-tui-mode"},
	{"Proxmox VE, prepared", "PVE", false, files{".cd-info": "PRODUCT='pve'\nPRODUCTLONG='Proxmox VE'\nRELEASE='8.3'\nISORELEASE='1'\n", "boot/linux26": bzImage, "boot/initrd.img": "i", "auto-installer-mode.toml": "mode"},
		"proxmox 8.3-1 [x64 boot/linux26 boot/initrd.img] auto: ramdisk_size=16777216 rw quiet splash=silent proxmox-start-auto-installer install: ramdisk_size=16777216 rw quiet splash=silent text: ramdisk_size=16777216 rw quiet splash=silent proxtui proxmox-tui-mode"},
	{"ESXi", "ESXI-8.0U3-24022510-STANDARD", false, files{"BOOT.CFG": "bootstate=0\ntitle=Loading ESXi installer\ntimeout=5\nprefix=\nkernel=/b.b00\nkernelopt=runweasel cdromBoot\nmodules=/jumpstrt.gz --- /useropts.gz\nbuild=8.0.3-0.0.24022510\nupdated=0\n", "EFI/BOOT/BOOTX64.EFI": "e", "EFI/BOOT/BOOT.CFG": "c", "B.B00": "b"},
		"esxi 8.0.3 [x64 efi/boot/bootx64.efi boot.cfg] install: -c {{ .BaseURL }}/boot.cfg"},
	{"Talos", "TALOS_V1_13_7", false, files{"boot/vmlinuz": bzImage, "boot/initramfs.xz": "i", "boot/grub/grub.cfg": "linux /boot/vmlinuz talos.platform=metal"},
		"talos 1.13.7 [x64 boot/vmlinuz boot/initramfs.xz] boot: " + talosLine},
	{"Talos, arm64, without a label", "ISOIMAGE", false, files{"boot/vmlinuz": image, "boot/initramfs.xz": "i", "boot/grub/grub.cfg": "linux /boot/vmlinuz talos.platform=metal"},
		"talos  [arm64 boot/vmlinuz boot/initramfs.xz] boot: " + talosLine},
	{"Talos image factory", "", true, files{"kernel-amd64": bzImage, "initramfs-amd64.xz": "i", "kernel-arm64": image, "initramfs-arm64.xz": "i"},
		"talos  [x64 kernel-amd64 initramfs-amd64.xz] [arm64 kernel-arm64 initramfs-arm64.xz] boot: " + talosLine},
	{"Flatcar", "", true, files{"flatcar_production_pxe.vmlinuz": image, "flatcar_production_pxe_image.cpio.gz": "i", "version.txt": "FLATCAR_BUILD=4081\nFLATCAR_VERSION=4081.2.0\n"},
		"flatcar 4081.2.0 [arm64 flatcar_production_pxe.vmlinuz flatcar_production_pxe_image.cpio.gz] boot: flatcar.first_boot=1{{ with .Params.ignition }} ignition.config.url={{ . }}{{ end }}"},
	{"Flatcar, kernel of no known format", "", true, files{"flatcar_production_pxe.vmlinuz": "k", "flatcar_production_pxe_image.cpio.gz": "i"},
		"flatcar  [x64 flatcar_production_pxe.vmlinuz flatcar_production_pxe_image.cpio.gz] boot: flatcar.first_boot=1{{ with .Params.ignition }} ignition.config.url={{ . }}{{ end }}"},
	{"Oracle Linux DVD, by its .treeinfo", "OL-9-6-0-BaseOS-x86_64", false, with(anacondaX64, packages, treeinfo("Oracle Linux Server", "9.6", "x86_64")),
		"anaconda 9.6 [x64 images/pxeboot/vmlinuz images/pxeboot/initrd.img images/install.img] install: inst.repo=@IMAGE@/tree ip=dhcp rescue: inst.stage2=@IMAGE@/tree inst.rescue ip=dhcp"},
	{"An Anaconda boot medium of nobody known, arm64", "Anolis-8", false, anacondaARM,
		"anaconda  [arm64 images/pxeboot/vmlinuz images/pxeboot/initrd.img images/install.img] install: inst.stage2=@IMAGE@/tree ip=dhcp rescue: inst.stage2=@IMAGE@/tree inst.rescue ip=dhcp"},
	{"Fedora CoreOS", "fedora-coreos-42.20250901.3.0", false, files{"images/pxeboot/vmlinuz": bzImage, "images/pxeboot/initrd.img": "i", "images/pxeboot/rootfs.img": "r"},
		"fedora-coreos 42.20250901.3.0 [x64 images/pxeboot/vmlinuz images/pxeboot/initrd.img images/pxeboot/rootfs.img] live: ip=dhcp rd.neednet=1 coreos.live.rootfs_url=@IMAGE@/rootfs.img{{ with .Params.ignition }} ignition.firstboot ignition.platform.id=metal ignition.config.url={{ . }}{{ end }} to-disk: ip=dhcp rd.neednet=1 coreos.live.rootfs_url=@IMAGE@/rootfs.img coreos.inst.install_dev={{ .Params.device }}{{ with .Params.ignition }} coreos.inst.ignition_url={{ . }}{{ end }}"},
	{"Harvester", "COS_LIVE", false, files{"harvester-release.yaml": "harvester: v1.5.1\nos: Harvester v1.5.1\n", "boot/kernel": bzImage, "boot/initrd": "i", "rootfs.squashfs": "s"},
		"harvester 1.5.1 [x64 boot/kernel boot/initrd rootfs.squashfs] install: ip=dhcp net.ifnames=1 rd.cos.disable rd.noverifyssl root=live:@IMAGE@/tree/rootfs.squashfs{{ with .Params.config }} harvester.install.automatic=true harvester.install.config_url={{ . }}{{ end }} harvester.install.iso_url=@ISO@"},
	{"Kali live", "Kali Live", false, files{".disk/info": "Official Kali GNU/Linux Live 2025.3 amd64", "live/vmlinuz-6.16.8+kali-amd64": bzImage, "live/initrd.img-6.16.8+kali-amd64": "i", "live/filesystem.squashfs": "s"},
		"kali-live 2025.3 [x64 live/vmlinuz-6.16.8+kali-amd64 live/initrd.img-6.16.8+kali-amd64 live/filesystem.squashfs] live: boot=live components fetch=@IMAGE@/tree/live/filesystem.squashfs"},
	{"Kali installer", "Kali Linux amd64 1", false, files{".disk/info": "Kali GNU/Linux 2025.3 \"Kali-last-snapshot\" - Official amd64 BD", "install.amd/vmlinuz": bzImage, "install.amd/initrd.gz": "i"},
		"kali 2025.3 [x64 install.amd/vmlinuz install.amd/initrd.gz] install: --- quiet"},
	{"VyOS", "VyOS", false, files{"version.json": "{\"version\": \"1.4.3\"}", "live/vmlinuz": bzImage, "live/initrd.img": "i", "live/filesystem.squashfs": "s"},
		"vyos 1.4.3 [x64 live/vmlinuz live/initrd.img live/filesystem.squashfs] live: boot=live nopersistence noautologin nonetworking components fetch=@IMAGE@/tree/live/filesystem.squashfs"},
	{"Clonezilla", "3.2.2-15-amd64", false, files{"Clonezilla-Live-Version": "clonezilla-live-3.2.2-15-amd64\n", "live/vmlinuz": bzImage, "live/initrd.img": "i", "live/filesystem.squashfs": "s"},
		"clonezilla 3.2.2-15-amd64 [x64 live/vmlinuz live/initrd.img live/filesystem.squashfs] live: boot=live union=overlay username=user config components noswap edd=on ocs_live_run=ocs-live-general ocs_live_batch=no fetch=@IMAGE@/tree/live/filesystem.squashfs"},
	{"SystemRescue", "RESCUE1202", false, files{"sysresccd/VERSION": "12.02\n", "sysresccd/boot/x86_64/vmlinuz": bzImage, "sysresccd/boot/x86_64/sysresccd.img": "i", "sysresccd/x86_64/airootfs.sfs": "s"},
		"systemrescue 12.02 [x64 sysresccd/boot/x86_64/vmlinuz sysresccd/boot/x86_64/sysresccd.img] live: archisobasedir=sysresccd archiso_http_srv=@IMAGE@/tree/ ip=dhcp"},
	{"Memtest86+", "MT86PLUS_64", false, files{"EFI/BOOT/bootx64.efi": bzImage, "boot/floppy.img": "f"}, "memtest  [x64 EFI/BOOT/bootx64.efi] test: "},
	{"Memtest86+ of Debian's package", "", true, files{"boot/memtest86+x64.efi": bzImage, "boot/memtest86+x64.bin": bzImage}, "memtest  [x64 boot/memtest86+x64.efi] test: "},
	{"NixOS", "nixos-minimal-25.05-x86_64", false, files{"nix-store.squashfs": "s", "boot/bzImage": bzImage, "boot/initrd": "i"}, "nixos 25.05"},
	{"XCP-ng", "XCP-ng 8.3.0", false, files{"boot/xen.gz": "x", "boot/vmlinuz": bzImage, "install.img": "i", ".treeinfo": "[general]\nversion = 8.3.0\n"}, "xcp-ng 8.3.0"},
	{"TrueNAS", "ISOIMAGE", false, files{"TrueNAS-SCALE.update": "u", "vmlinuz": bzImage, "initrd.img": "i"}, "truenas "},
	{"Leap Micro", "INSTALL", false, files{"boot/x86_64/loader/linux": bzImage, "boot/x86_64/loader/initrd": "i", "openSUSE-Leap-Micro.x86_64-6.2-Default-SelfInstall-Build1.1.raw.xz": "x"}, "suse-micro "},
	{"FreeBSD", "14_3_RELEASE_AMD64_DVD", false, files{"boot/kernel/kernel": "k", "boot/loader.efi": "e"}, "freebsd 14.3"},
	{"Flatcar ISO", "Flatcar", false, files{"flatcar/vmlinuz": bzImage, "flatcar/cpio.gz": "i", "isolinux/isolinux.cfg": "c"},
		"flatcar  [x64 flatcar/vmlinuz flatcar/cpio.gz] boot: flatcar.first_boot=1{{ with .Params.ignition }} ignition.config.url={{ . }}{{ end }}"},
}

const talosLine = "talos.platform=metal console=tty0 init_on_alloc=1 slab_nomerge pti=on consoleblank=0 nvme_core.io_timeout=4294967295 printk.devkmsg=on{{ with .Params.config }} talos.config={{ . }}{{ end }}"

// line shows what matters of a result.
func line(f *Found) string {
	s := f.System + " " + f.Version
	for _, a := range f.Arches {
		s += " [" + strings.Join(slices.Concat([]string{a.Platform, a.Kernel}, a.Initrd, a.Extra), " ") + "]"
	}
	for _, v := range f.Variants {
		s += " " + v.Name + ": " + v.Cmdline
	}
	return s
}

func mapFS(f files) fstest.MapFS {
	m := fstest.MapFS{}
	for name, data := range f {
		if target, ok := strings.CutPrefix(data, "-> "); ok {
			m[name] = &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink}
		} else {
			m[name] = &fstest.MapFile{Data: []byte(data)}
		}
	}
	return m
}

// TestFolders reads each medium unpacked.
func TestFolders(t *testing.T) {
	seen := map[string]bool{}
	for _, tc := range media {
		f, err := Detect(mapFS(tc.files), tc.label)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if got := line(f); !strings.EqualFold(got, tc.want) {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, got, tc.want)
		}
		if (f.Kind == Disc) != (len(f.Variants) == 0) || f.Kind == Disc && len(f.Notes) == 0 {
			t.Errorf("%s: as a %s, with %q it boots as %+v", tc.name, f.Kind, f.Notes, f.Variants)
		}
		if len(f.Variants) > 0 && f.Cmdline != f.Variants[0].Cmdline {
			t.Errorf("%s: command line %q is not the first variant's", tc.name, f.Cmdline)
		}
		seen[f.System] = true
		// A medium matches one distribution only; otherwise the result would
		// depend on the order of file names.
		m := &medium{fsys: mapFS(tc.files), label: tc.label, texts: map[string]string{}}
		for _, d := range All() {
			if d.Name != f.System && !d.Generic && slices.ContainsFunc(d.Detect, m.holds) {
				t.Errorf("%s: is %s and %s", tc.name, f.System, d.Name)
			}
		}
	}
	for _, d := range All() {
		if !seen[d.Name] {
			t.Errorf("%s has no medium in this test", d.Name)
		}
	}
}

// TestImages reads each medium as an ISO: with Rock Ridge, and ESXi's as it is,
// with plain names.
func TestImages(t *testing.T) {
	nettest.Need(t, "xorriso")
	for _, tc := range media {
		if tc.folder {
			continue
		}
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			file, err := os.Open(Medium{tc.name, tc.label, tc.folder, tc.files}.Lay(t))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			st, err := file.Stat()
			if err != nil {
				t.Fatal(err)
			}
			img, err := iso.Open(file, st.Size())
			if err != nil {
				t.Fatal(err)
			}
			f, err := Detect(img, img.Label())
			if err != nil {
				t.Fatal(err)
			}
			if got := line(f); got != tc.want {
				t.Errorf("\n got %s\nwant %s", got, tc.want)
			}
			for _, a := range f.Arches {
				for _, p := range slices.Concat([]string{a.Kernel}, a.Initrd, a.Extra) {
					off, size, err := img.Locate(p)
					if err != nil {
						t.Error(err)
						continue
					}
					b := make([]byte, size)
					want := tc.files[p]
					if want == "" {
						want = tc.files[strings.ToUpper(p)]
					}
					if _, err := file.ReadAt(b, off); err != nil || string(b) != want {
						t.Errorf("%s: %q, %v", p, b, err)
					}
				}
			}
		})
	}
}

func TestUnknown(t *testing.T) {
	for name, f := range map[string]files{
		"nothing":          {},
		"Windows":          {"sources/boot.wim": "w", "bootmgr": "b", "setup.exe": "s"},
		"Linux Mint":       {".disk/info": `Linux Mint 22.3 "Zena" - Release amd64 20260108`, "casper/vmlinuz": bzImage, "casper/initrd": "i"},
		"a mirror":         {"dists/trixie/Release": "r", "pool/main/a.deb": "d"},
		"FreeBSD":          {"boot/kernel/kernel": "k", "boot/loader.conf": "l"},
		"openSUSE live":    {"LiveOS/squashfs.img": "s", "boot/x86_64/loader/linux": "k", "boot/x86_64/loader/initrd": "i"},
		"a photo of a cat": {"cat.jpg": "c"},
	} {
		if f, err := Detect(mapFS(f), ""); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
}

// What is recognized and lacks a file is an error that names both.
func TestIncomplete(t *testing.T) {
	for _, tc := range []struct {
		label string
		files files
		want  string
	}{
		{"", files{".disk/info": debianInfo, "install.amd/initrd.gz": "i"}, "it looks like Debian installer medium, and has no install.amd/vmlinuz, which debian/system.toml asks for: is it complete?"},
		{"", files{".disk/info": debianInfo, "install.amd/vmlinuz": "k"}, "no install.amd/initrd.gz, which debian/system.toml"},
		{"", files{".disk/info": debianInfo, "install.386/vmlinuz": "k"}, "for none of the architectures that debian/system.toml knows"},
		{"d-live 13.0.0 gn amd64", files{"live/vmlinuz-6-amd64": bzImage, "live/initrd.img-6-amd64": "i"}, "no live/filesystem.squashfs"},
		{"d-live 13.0.0 gn amd64", files{"live/vmlinuz-6-amd64": bzImage, "live/initrd.img-5-amd64": "i", "live/filesystem.squashfs": "s"}, "no live/initrd.img-6-amd64"},
		{"", with(treeinfo("Fedora", "42", "x86_64"), files{"EFI/BOOT/BOOTX64.EFI": "e"}), "no images/pxeboot/vmlinuz, which fedora/system.toml"},
		{"", files{"flatcar_production_pxe_image.cpio.gz": "i"}, "no flatcar_production_pxe.vmlinuz"},
		{"", files{".disk/info": "Ubuntu-Server 24.04 LTS - Release riscv64", "casper/vmlinuz": "k", "casper/initrd": "i"}, "none of the architectures that ubuntu-server/system.toml"},
		{"", files{"debian-installer/amd64/linux": image, "debian-installer/amd64/initrd.gz": "i"}, "debian-installer/amd64/linux is for arm64, which debian-netboot/system.toml does not know"},
		{"", files{"arch/boot/x86_64/vmlinuz-" + strings.Repeat("x", 200): bzImage, "arch/boot/x86_64/initramfs-" + strings.Repeat("x", 200) + ".img": "i", "arch/x86_64/airootfs.sfs": "s"}, "cannot stand in a boot script"},
		{"", files{"arch/boot/x86_64/vmlinuz-$(reboot)": bzImage, "arch/boot/x86_64/initramfs-$(reboot).img": "i", "arch/x86_64/airootfs.sfs": "s"}, `"arch/boot/x86_64/vmlinuz-$(reboot)" cannot stand in a boot script`},
		{"d-live 13.0.0 gn amd64", files{"live/vmlinuz-\x1b[2J-amd64": bzImage}, "no live/initrd.img-?[2J-amd64"},
		{"d-live 13.0.0 gn amd64", files{"live/vmlinuz-" + strings.Repeat("x", 300) + "-amd64": bzImage}, "live/initrd.img-" + strings.Repeat("x", 184) + " and no"},
		{"", files{"usr/lib/debian-installer/images/1\u009b/amd64/text/debian-installer/amd64/linux": image, "usr/lib/debian-installer/images/1\u009b/amd64/text/debian-installer/amd64/initrd.gz": "i"},
			"images/1?/amd64/text/debian-installer/amd64/linux is for arm64"},
	} {
		f, err := Detect(mapFS(tc.files), tc.label)
		if err == nil || !strings.Contains(err.Error(), tc.want) || errors.Is(err, ErrUnknown) {
			t.Errorf("%+v, %v; want %q", f, err, tc.want)
		}
	}
}

// A medium's text is read in part, and what it says is passed on if plain.
func TestHostileMedia(t *testing.T) {
	f := files{".disk/info": debianInfo, "install.amd/vmlinuz": bzImage, "install.amd/initrd.gz": "i"}
	for text, want := range map[string]string{
		"Debian GNU/Linux 13.0.0 x":                             "13.0.0",
		"Debian GNU/Linux 13\x1b[31m":                           "13",
		"Debian GNU/Linux 1" + strings.Repeat("3", 100):         "",
		"Debian GNU/Linux " + strings.Repeat(" ", 1<<20) + "13": "",
	} {
		got, err := Detect(mapFS(with(f, files{".disk/info": text})), "")
		if err != nil || got.Version != want {
			t.Errorf("%.40q: %+v, %v; want version %q", text, got, err, want)
		}
	}
	// Patterns with stars over directories with a great many names.
	deep := fstest.MapFS{}
	for i := range 300 {
		for j := range 100 {
			deep[fmt.Sprintf("usr/lib/debian-installer/images/%d/%d/x", i, j)] = &fstest.MapFile{}
		}
	}
	looks := &counted{FS: deep}
	if _, err := Detect(looks, ""); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	if looks.n > 1000 {
		t.Errorf("looked at %d files and folders", looks.n)
	}
	m := &medium{fsys: deep, texts: map[string]string{}}
	tries := maxTries
	if _, _, ok := m.findIn(".", strings.Split("usr/lib/debian-installer/images/*/*/text", "/"), &tries); ok || tries > 0 {
		t.Errorf("%v, %d tries left", ok, tries)
	}
}

// counted counts what is opened: all that a medium costs.
type counted struct {
	fs.FS
	n int
}

func (c *counted) Open(name string) (fs.File, error) {
	c.n++
	return c.FS.Open(name)
}

// find takes names as they are, then without case; a star stands for a part.
func TestFind(t *testing.T) {
	m := &medium{fsys: mapFS(files{"EFI/BOOT/BOOTX64.EFI": "", "efi2/x": "", "live/vmlinuz-6.1-arm64": "", "live/VMLINUZ-6.9-AMD64": "", "live/vmlinuz-7.0-rt": "", "ab": "", "a1/x": "", "a2/y": ""})}
	for pattern, want := range map[string]string{
		"EFI/BOOT/BOOTX64.EFI": "EFI/BOOT/BOOTX64.EFI []",
		"efi/boot/bootx64.efi": "EFI/BOOT/BOOTX64.EFI []",
		"live/vmlinuz-*-amd64": "live/VMLINUZ-6.9-AMD64 [6.9]",
		"live/vmlinuz-*":       "live/vmlinuz-7.0-rt [7.0-rt]",
		"LIVE/*-rt":            "live/vmlinuz-7.0-rt [vmlinuz-7.0]",
		"a*/x":                 "a1/x [1]", // a2 is newer and has none
		"a*/*":                 "a2/y [2 y]",
		"ab*b":                 "", // the same b cannot stand for both
		"a*b":                  "ab []",
		"none":                 "",
		"ab/c":                 "",
	} {
		got := ""
		if p, stars, ok := m.find(pattern); ok {
			got = fmt.Sprint(p, " ", stars)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", pattern, got, want)
		}
	}
}

func TestConditions(t *testing.T) {
	m := &medium{fsys: fstest.MapFS{
		"text": {Data: []byte("one\n" + strings.Repeat("x", maxText) + "\ntwo\n")},
		"pipe": {Data: []byte("one"), Mode: fs.ModeNamedPipe},
	}, label: "A/B 1.0", texts: map[string]string{}}
	for _, tc := range []struct {
		c    Condition
		want bool
	}{
		{Condition{Label: []string{"x", "A/B *"}}, true},
		{Condition{Label: []string{"A*"}}, true},
		{Condition{Label: []string{"B*"}}, false},
		{Condition{Files: []string{"text"}}, true},
		{Condition{Files: []string{"text", "none"}}, false},
		{Condition{Absent: []string{"none"}}, true},
		{Condition{Absent: []string{"none", "text"}}, false},
		{Condition{Text: map[string]string{"text": "(?m)^one$"}}, true},
		{Condition{Text: map[string]string{"text": "two"}}, false}, // past what is read
		{Condition{Text: map[string]string{"pipe": "one"}}, false}, // not to be opened
		{Condition{Text: map[string]string{"none": ""}, Label: []string{"A*"}}, true},
	} {
		if err := tc.c.compile(); err != nil {
			t.Fatal(err)
		}
		if got := m.holds(tc.c); got != tc.want {
			t.Errorf("%+v: %v", tc.c, got)
		}
	}
}

// What the importer must do besides is said.
func TestNeeds(t *testing.T) {
	for _, tc := range media {
		f, err := Detect(mapFS(tc.files), tc.label)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprint(f.Kind, " tree ", f.Tree, " whole ", f.WholeISO, " in initrd ", f.ISOInInitrd, " medium ", f.NeedsMedium, " params ", len(f.Params))
		want := map[string]string{
			"debian":        "linux tree true whole false in initrd  medium true params 0",
			"ubuntu-server": "linux tree false whole true in initrd  medium false params 0",
			"proxmox":       "linux tree false whole true in initrd /proxmox.iso medium false params 0",
			"esxi":          "esxi tree true whole false in initrd  medium false params 0",
			"talos":         "linux tree false whole false in initrd  medium false params 1",
		}[f.System]
		if want != "" && got != want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, got, want)
		}
		for _, p := range f.Params {
			if p.Name == "" || !strings.Contains(line(f), ".Params."+p.Name) {
				t.Errorf("%s: parameter %+v", tc.name, p)
			}
		}
	}
}

func TestCompareVersions(t *testing.T) {
	order := []string{"vmlinuz-5.10", "vmlinuz-6.1.0-9", "vmlinuz-6.1.0-18", "vmlinuz-6.12", "vmlinuz-6.12-rt", "vmlinuz-10"}
	got := slices.Clone(order)
	slices.Reverse(got)
	slices.SortFunc(got, compareVersions)
	if !slices.Equal(got, order) {
		t.Errorf("%q", got)
	}
}

func TestMachine(t *testing.T) {
	gz := func(s string) string {
		return gzipped(t, s)
	}
	for kernel, want := range map[string]string{
		bzImage: "x64", image: "arm64", zboot: "arm64", gz(image): "arm64", gz(bzImage): "x64",
		strings.Replace(zboot, "\x64\xaa", "\x64\x86", 1): "x64",
		"":                                 "",
		"MZ":                               "",
		"\x1f\x8b":                         "",
		"\x1f\x8bnot gzip":                 "",
		gz("")[:12]:                        "",
		strings.Repeat("x", 99):            "",
		"MZ" + strings.Repeat("\xff", 100): "",
		"MZ" + strings.Repeat("\x00", 10):  "",
	} {
		m := &medium{fsys: fstest.MapFS{"k": {Data: []byte(kernel)}}}
		if got := m.machine("k"); got != want {
			t.Errorf("%.60q: %q, want %q", kernel, got, want)
		}
	}
}

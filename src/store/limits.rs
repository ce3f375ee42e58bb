//! Every limit of unpacking, in one place. No honest image comes near them.

/// Bytes of one long name, long link target or set of PAX records, which are held in memory.
pub(super) const METADATA: u64 = 1 << 20;
/// Segments of one sparse file.
pub(super) const SEGMENTS: usize = 1 << 18;
/// Entries of a layer.
pub(super) const ENTRIES: u64 = 10_000_000;
/// Folders and hidden names of a layer, which are held in memory until its end.
pub(super) const FOLDERS: usize = 1_000_000;
/// Bytes of one entry's name.
pub(super) const NAME: usize = 64 << 10;
/// Bytes of one component of a name, as Linux has it.
pub(super) const COMPONENT: usize = 255;
/// Folders one in the other.
pub(super) const DEPTH: u32 = 10_240;
/// Symbolic links on the way to one entry, as Linux has it.
pub(super) const LINKS: u32 = 40;
/// Folders kept open while a layer is unpacked; a few layers are, with 1024 descriptors in all.
pub(super) const OPEN_FOLDERS: usize = 64;

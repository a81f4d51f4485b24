// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu.driver;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/// Makes a 64-bit ELF library ask for another one than it was linked with, by the names in its
/// dynamic section and the hash of the symbol version (System V ABI, chapter 5; Linux Standard
/// Base, "Symbol Versioning").
final class ElfRetarget {
    private static final int MAGIC = 0x464c457f;
    private static final int PT_LOAD = 1;
    private static final int PT_DYNAMIC = 2;
    private static final long DT_STRTAB = 5;
    private static final long DT_STRSZ = 10;
    private static final long DT_VERNEED = 0x6ffffffeL;
    private static final long DT_VERNEEDNUM = 0x6fffffffL;

    private final ByteBuffer elf;
    private final int headers;
    private final int headerSize;
    private final int headerCount;

    private ElfRetarget(byte[] bytes) {
        elf = ByteBuffer.wrap(bytes.clone()).order(ByteOrder.LITTLE_ENDIAN);
        if (elf.getInt(0) != MAGIC || elf.get(4) != 2 || elf.get(5) != 1) {
            throw new IllegalArgumentException("not a little-endian ELF64 file");
        }
        headers = Math.toIntExact(elf.getLong(32));
        headerSize = elf.getShort(54) & 0xffff;
        headerCount = elf.getShort(56) & 0xffff;
    }

    /// @param from the name of a needed library, `libcublas.so.12`
    /// @param to one of the same length
    static byte[] needed(byte[] library, String from, String to) {
        if (from.length() != to.length()) {
            throw new IllegalArgumentException(from + " and " + to + " differ in length");
        }
        return new ElfRetarget(library).retarget(from, to);
    }

    private byte[] retarget(String from, String to) {
        int dynamic = 0;
        long size = 0;
        for (int h = headers; h < headers + headerCount * headerSize; h += headerSize) {
            if (elf.getInt(h) == PT_DYNAMIC) {
                dynamic = Math.toIntExact(elf.getLong(h + 8));
                size = elf.getLong(h + 32);
            }
        }
        long strings = 0;
        long stringsSize = 0;
        long versions = 0;
        long versionCount = 0;
        for (int at = dynamic; at < dynamic + size; at += 16) {
            long value = elf.getLong(at + 8);
            long tag = elf.getLong(at);
            if (tag == DT_STRTAB) {
                strings = value;
            } else if (tag == DT_STRSZ) {
                stringsSize = value;
            } else if (tag == DT_VERNEED) {
                versions = value;
            } else if (tag == DT_VERNEEDNUM) {
                versionCount = value;
            }
        }
        rename(fileOffset(strings), stringsSize, from, to);
        if (versions != 0) {
            rehash(fileOffset(versions), versionCount, hash(from), hash(to));
        }
        return elf.array();
    }

    private void rename(int at, long size, String from, String to) {
        byte[] old = (from + "\0").getBytes(StandardCharsets.US_ASCII);
        byte[] other = to.getBytes(StandardCharsets.US_ASCII);
        boolean found = false;
        for (int i = at; i + old.length <= at + size; i++) {
            if (matches(i, old)) {
                elf.put(i, other);
                found = true;
            }
        }
        if (!found) {
            throw new IllegalArgumentException("the library does not need " + from);
        }
    }

    private boolean matches(int at, byte[] name) {
        for (int k = 0; k < name.length; k++) {
            if (elf.get(at + k) != name[k]) {
                return false;
            }
        }
        return true;
    }

    private void rehash(int at, long count, int from, int to) {
        int need = at;
        for (long n = 0; n < count; n++) {
            int entries = elf.getShort(need + 2) & 0xffff;
            int entry = need + elf.getInt(need + 8);
            for (int k = 0; k < entries; k++) {
                if (elf.getInt(entry) == from) {
                    elf.putInt(entry, to);
                }
                entry += elf.getInt(entry + 12);
            }
            need += elf.getInt(need + 12);
        }
    }

    /// The ABI's hash of a symbol's name.
    private static int hash(String name) {
        int h = 0;
        for (byte c : name.getBytes(StandardCharsets.US_ASCII)) {
            h = (h << 4) + c;
            int high = h & 0xf0000000;
            h ^= high >>> 24;
            h &= ~high;
        }
        return h;
    }

    private int fileOffset(long address) {
        for (int h = headers; h < headers + headerCount * headerSize; h += headerSize) {
            long start = elf.getLong(h + 16);
            if (elf.getInt(h) == PT_LOAD
                    && address >= start
                    && address < start + elf.getLong(h + 32)) {
                return Math.toIntExact(address - start + elf.getLong(h + 8));
            }
        }
        throw new IllegalArgumentException("an address outside of the file");
    }
}

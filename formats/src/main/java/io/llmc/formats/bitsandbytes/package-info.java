// SPDX-License-Identifier: Apache-2.0
/// bitsandbytes checkpoints, which are read and not written.
package io.llmc.formats.bitsandbytes;

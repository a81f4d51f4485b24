// SPDX-License-Identifier: Apache-2.0
/// What a teacher says, kept on disk.
package io.llmc.distill.teacher;

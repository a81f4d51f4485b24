// SPDX-License-Identifier: Apache-2.0
/// The CUDA backend. Nothing compiles against it: [io.llmc.backend.BackendProvider] is how it is
/// found. A kernel family is one `.cu` file and one class of the same name that launches it.
package io.llmc.gpu;

// SPDX-License-Identifier: Apache-2.0
/// JCuda: devices, their memory, CUDA's libraries and errors.
package io.llmc.gpu.driver;

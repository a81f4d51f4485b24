// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import static jcuda.driver.JCudaDriver.cuDeviceGet;
import static jcuda.driver.JCudaDriver.cuDeviceGetAttribute;
import static jcuda.driver.JCudaDriver.cuDeviceGetCount;
import static jcuda.driver.JCudaDriver.cuDeviceGetName;
import static jcuda.driver.JCudaDriver.cuDeviceTotalMem;
import static jcuda.driver.JCudaDriver.cuDriverGetVersion;
import static jcuda.driver.JCudaDriver.cuInit;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.BackendProvider;
import io.llmc.formats.UserException;
import io.llmc.gpu.driver.Natives;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import jcuda.driver.CUdevice;
import jcuda.driver.CUdevice_attribute;

/// NVIDIA GPUs. Loads nothing of JCuda before it knows that there is a driver.
public final class CudaBackendProvider implements BackendProvider {
    private static final String NAME = "cuda:";

    /// The kernels ship as PTX 7.0, which came with CUDA 11.0.
    private static final int OLDEST_DRIVER = 11000;

    /// bf16 in tensor cores, and copies from global to shared memory beside computing.
    private static final int OLDEST_CAPABILITY = 80;

    @Override
    public List<Device> devices() {
        if (Natives.unwanted()) {
            return List.of();
        }
        Optional<String> problem = Natives.driverProblem();
        if (problem.isPresent()) {
            return List.of(none(problem.get()));
        }
        int code = cuInit(0);
        int[] count = new int[1];
        if (code == 0) {
            code = cuDeviceGetCount(count);
        }
        if (code != 0 || count[0] == 0) {
            return List.of(
                    none(code == 0 ? "the driver knows no GPU" : "the driver says error " + code));
        }
        int[] version = new int[1];
        cuDriverGetVersion(version);
        List<Device> devices = new ArrayList<>();
        for (int i = 0; i < count[0]; i++) {
            devices.add(describe(i, version[0]));
        }
        return devices;
    }

    private static Device none(String why) {
        return new Device(NAME + 0, why, false);
    }

    private static Device describe(int index, int driver) {
        CUdevice device = new CUdevice();
        cuDeviceGet(device, index);
        byte[] name = new byte[256];
        cuDeviceGetName(name, name.length, device);
        long[] bytes = new long[1];
        cuDeviceTotalMem(bytes, device);
        int major =
                attribute(device, CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
        int minor =
                attribute(device, CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
        String what =
                "%s, %.1f GiB, compute capability %d.%d, driver for CUDA %d.%d, %s"
                        .formatted(
                                new String(name, StandardCharsets.US_ASCII).replace("\0", ""),
                                bytes[0] / (double) (1L << 30),
                                major,
                                minor,
                                driver / 1000,
                                driver % 1000 / 10,
                                Natives.describeBlas());
        if (driver < OLDEST_DRIVER) {
            return new Device(
                    NAME + index,
                    what + ": the kernels need a driver for CUDA 11.0 or newer, update it",
                    false);
        }
        if (10 * major + minor < OLDEST_CAPABILITY) {
            return new Device(
                    NAME + index,
                    what + ": the kernels need compute capability 8.0 or newer",
                    false);
        }
        return new Device(NAME + index, what, true);
    }

    private static int attribute(CUdevice device, int which) {
        int[] value = new int[1];
        cuDeviceGetAttribute(value, which, device);
        return value[0];
    }

    @Override
    @MustBeClosed
    public Backend open(String device, BackendOptions options) {
        if (options.math() == BackendOptions.Math.ONEDNN) {
            throw new UserException(
                    "{math} onednn is for the CPU, and the device is " + device,
                    "leave it out, or pass {device} cpu");
        }
        return new CudaBackend(Integer.parseInt(device.substring(NAME.length())), options);
    }
}

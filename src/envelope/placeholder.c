/* SPDX-License-Identifier: Apache-2.0 */ typedef int envelope_placeholder;

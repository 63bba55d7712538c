/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors that travel over UNIX sockets (unix(7), SCM_RIGHTS). */
#ifndef RESEAL_DESCRIPTOR_H
#define RESEAL_DESCRIPTOR_H

#include <sys/socket.h>

/* The one that came with a message that recvmsg has filled, the caller's from now on; -1: none. */
int descriptor_take(struct msghdr *message);

#endif
